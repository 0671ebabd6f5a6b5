-- Where the chain of every run ends, tombstones too, in the order of the tree. One statement, so one snapshot, and a
-- cursor, so that neither side holds more than a batch of them.
DECLARE hookflow_heads NO SCROLL CURSOR FOR
SELECT run_uid::text, run_id, last_seq, encode(head_hash, 'hex'), encode(tombstone_hash, 'hex') FROM django_hookflow_head ORDER BY run_uid
