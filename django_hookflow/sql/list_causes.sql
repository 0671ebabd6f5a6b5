-- What the failures of a sample come to: how many of each cause in each of 24 parts of the time. The statement that takes
-- the sample is put into the first WITH; then come the end and the beginning of the time, without which it begins with the
-- oldest failure of the sample.
WITH failure (id, fingerprint, error_type, created_at) AS MATERIALIZED ({sample}),
span AS (
  SELECT since, greatest(%s::timestamptz, since + interval '1 second') AS until
  FROM (SELECT coalesce(%s::timestamptz, min(created_at)) AS since FROM failure) AS begin
)
SELECT fingerprint, error_type,
  least(23, greatest(0, floor(24 * extract(epoch FROM created_at - since) / extract(epoch FROM until - since))))::integer AS part,
  count(*), min(created_at), max(created_at), max(id), min(since), min(until)
FROM failure CROSS JOIN span
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
