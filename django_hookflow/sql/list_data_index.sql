-- Whether somebody has made the optional index on this column of the runs, over all of them.
SELECT EXISTS (
  SELECT FROM pg_index AS index
    JOIN pg_class AS class ON class.oid = index.indexrelid
    JOIN pg_am AS am ON am.oid = class.relam
    JOIN pg_attribute AS attribute ON attribute.attrelid = index.indrelid AND attribute.attnum = index.indkey[0]
  WHERE index.indrelid = 'django_hookflow_workflowrun'::regclass AND am.amname = 'gin' AND index.indisvalid
    AND index.indpred IS NULL AND index.indnatts = 1 AND attribute.attname = %(column)s)
