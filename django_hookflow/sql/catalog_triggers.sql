-- All but those that PostgreSQL makes for foreign keys and the like.
SELECT trigger.tgrelid::bigint, trigger.tgname, trigger.tgenabled::text,
  pg_catalog.quote_ident(trigger.tgname), pg_catalog.pg_get_triggerdef(trigger.oid, true)
FROM pg_catalog.pg_trigger AS trigger JOIN pg_catalog.pg_proc AS routine ON routine.oid = trigger.tgfoid
WHERE trigger.tgrelid = ANY (%(relations)s::oid[])
  AND NOT (trigger.tgisinternal AND routine.pronamespace = 'pg_catalog'::regnamespace::oid)
ORDER BY trigger.tgrelid, trigger.tgname
