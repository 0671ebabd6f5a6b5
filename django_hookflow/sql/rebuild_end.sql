-- Writes as little as can be, so that the commit that follows brings to the disk what was committed before it. The lock
-- is one that appends do not notice.
SELECT FROM django_hookflow_head LIMIT 1 FOR KEY SHARE SKIP LOCKED
