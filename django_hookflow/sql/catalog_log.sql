SELECT schema.oid::bigint, schema.nspname, pg_catalog.quote_ident(schema.nspname),
  event.oid::bigint, event.relowner::bigint, pg_catalog.pg_get_userbyid(event.relowner)
FROM pg_catalog.unnest(%(path)s::name[]) WITH ORDINALITY AS path (name, place)
JOIN pg_catalog.pg_namespace AS schema ON schema.nspname = path.name
JOIN pg_catalog.pg_class AS event ON event.relnamespace = schema.oid AND event.relname = 'django_hookflow_event' AND event.relkind = 'p'
JOIN pg_catalog.pg_class AS head ON head.relnamespace = schema.oid AND head.relname = 'django_hookflow_head' AND head.relkind = 'r'
ORDER BY path.place LIMIT 1
