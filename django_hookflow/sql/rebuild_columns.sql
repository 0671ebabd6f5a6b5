-- The columns of one projection's table, as it is: a later release may have added some.
SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
WHERE attrelid = {table}::regclass AND attnum > 0 AND NOT attisdropped
