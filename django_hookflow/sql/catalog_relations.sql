-- Tables and views of these names, or all, in the schema of the log; and the partitions of the log wherever they are.
SELECT relation.oid::bigint, relation.relname, relation.oid::regclass::text, relation.relkind::text,
  pg_catalog.pg_get_userbyid(relation.relowner), partition.relid IS NOT NULL AS is_partition,
  pg_catalog.array_to_string(relation.reloptions, ', '),
  CASE WHEN relation.relkind = 'v' THEN pg_catalog.pg_get_viewdef(relation.oid) END
FROM pg_catalog.pg_class AS relation
LEFT JOIN pg_catalog.pg_partition_tree(%(log)s::oid::regclass) AS partition
  ON partition.relid::oid = relation.oid AND partition.level > 0
WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (partition.relid IS NOT NULL
       OR relation.relnamespace = %(schema)s::oid
          AND (%(names)s::name[] IS NULL OR relation.relname = ANY (%(names)s::name[])))
ORDER BY relation.relname
