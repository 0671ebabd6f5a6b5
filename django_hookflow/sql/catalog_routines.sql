-- Functions of these names, or all, in the schema of the log.
SELECT routine.proname, pg_catalog.oidvectortypes(routine.proargtypes),
  CASE WHEN routine.prokind IN ('f', 'p') THEN pg_catalog.pg_get_functiondef(routine.oid) END,
  routine.prosecdef, routine.proconfig, pg_catalog.pg_get_userbyid(routine.proowner)
FROM pg_catalog.pg_proc AS routine
WHERE routine.pronamespace = %(schema)s::oid AND (%(names)s::name[] IS NULL OR routine.proname = ANY (%(names)s::name[]))
ORDER BY routine.proname, 2
