-- Objects that this login's search_path puts in the place of ours, or of PostgreSQL's where ours use them. Of a relation or
-- type the first on the path is taken; of functions and operators any on the path whose operands fit better. An overload
-- of PostgreSQL's that takes a type of its own is left alone, and so is an extension's that a superuser owns.
WITH path AS (
  SELECT schema.oid, p.place FROM pg_catalog.unnest(%(path)s::name[]) WITH ORDINALITY AS p (name, place)
  JOIN pg_catalog.pg_namespace AS schema ON schema.nspname = p.name
),
log AS (SELECT place FROM path WHERE oid = %(schema)s::oid),
builtin AS (SELECT place FROM path WHERE oid = 'pg_catalog'::regnamespace::oid),
relation AS (
  SELECT relname FROM pg_catalog.pg_class
  WHERE relnamespace = %(schema)s::oid AND relkind IN ('r', 'p', 'v', 'm', 'S')
    AND (oid = ANY (%(relations)s::oid[]) OR relkind = 'S' AND EXISTS (
      SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_class'::regclass::oid AND objid = pg_class.oid
        AND refobjid = ANY (%(relations)s::oid[])))
),
found (classid, oid, owner, what) AS (
  SELECT 'pg_catalog.pg_class'::regclass::oid, c.oid, c.relowner, pg_catalog.format('%%s %%s',
    CASE c.relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' ELSE 'table' END, c.oid::regclass)
  FROM pg_catalog.pg_class AS c JOIN path ON path.oid = c.relnamespace, log
  WHERE path.place < log.place AND c.relname IN (SELECT relname FROM relation)
  UNION ALL
  SELECT 'pg_catalog.pg_type'::regclass::oid, t.oid, t.typowner, pg_catalog.format('type %%s', t.oid::regtype)
  FROM pg_catalog.pg_type AS t JOIN path ON path.oid = t.typnamespace, log, builtin
  WHERE t.typcategory <> 'A' AND (
    path.place < log.place AND t.typrelid = 0::oid AND t.typname IN (SELECT relname FROM relation)
    OR path.place < builtin.place AND t.typname IN (
      SELECT typname FROM pg_catalog.pg_type WHERE typnamespace = 'pg_catalog'::regnamespace::oid))
  UNION ALL
  SELECT 'pg_catalog.pg_proc'::regclass::oid, f.oid, f.proowner, pg_catalog.format('function %%s', f.oid::regprocedure)
  FROM pg_catalog.pg_proc AS f JOIN path ON path.oid = f.pronamespace, log
  WHERE f.pronamespace <> %(schema)s::oid AND f.proname = ANY (%(names)s::name[])
    AND (path.place < log.place OR NOT EXISTS (
      SELECT FROM pg_catalog.pg_proc AS ours WHERE ours.pronamespace = %(schema)s::oid AND ours.proname = f.proname
        AND ours.proargtypes = f.proargtypes))
  UNION ALL
  SELECT 'pg_catalog.pg_proc'::regclass::oid, f.oid, f.proowner, pg_catalog.format('function %%s', f.oid::regprocedure)
  FROM pg_catalog.pg_proc AS f JOIN path ON path.oid = f.pronamespace, builtin
  WHERE f.pronamespace <> 'pg_catalog'::regnamespace::oid AND f.proname = ANY (%(called)s::name[])
    AND NOT (f.pronamespace = %(schema)s::oid AND f.proowner = %(owner)s::oid)
    AND NOT EXISTS (SELECT FROM pg_catalog.unnest(f.proargtypes) AS argument (type) JOIN pg_catalog.pg_type AS t ON t.oid = argument.type
                    WHERE t.typnamespace <> 'pg_catalog'::regnamespace::oid)
    AND EXISTS (SELECT FROM pg_catalog.pg_proc AS own WHERE own.pronamespace = 'pg_catalog'::regnamespace::oid AND own.proname = f.proname)
    AND (path.place < builtin.place OR NOT EXISTS (
      SELECT FROM pg_catalog.pg_proc AS own WHERE own.pronamespace = 'pg_catalog'::regnamespace::oid
        AND own.proname = f.proname AND own.proargtypes = f.proargtypes))
  UNION ALL
  SELECT 'pg_catalog.pg_operator'::regclass::oid, o.oid, o.oprowner, pg_catalog.format('operator %%s', o.oid::regoperator)
  FROM pg_catalog.pg_operator AS o JOIN path ON path.oid = o.oprnamespace, builtin
  WHERE o.oprnamespace <> 'pg_catalog'::regnamespace::oid
    AND NOT (o.oprnamespace = %(schema)s::oid AND o.oprowner = %(owner)s::oid)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_type AS t
                    WHERE t.oid IN (o.oprleft, o.oprright) AND t.typnamespace <> 'pg_catalog'::regnamespace::oid)
    AND EXISTS (SELECT FROM pg_catalog.pg_operator AS own WHERE own.oprnamespace = 'pg_catalog'::regnamespace::oid AND own.oprname = o.oprname)
    AND (path.place < builtin.place OR NOT EXISTS (
      SELECT FROM pg_catalog.pg_operator AS own WHERE own.oprnamespace = 'pg_catalog'::regnamespace::oid
        AND own.oprname = o.oprname AND own.oprleft = o.oprleft AND own.oprright = o.oprright))
)
SELECT DISTINCT what FROM found
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS part JOIN pg_catalog.pg_roles AS role ON role.oid = found.owner
                  WHERE part.classid = found.classid AND part.objid = found.oid AND part.deptype = 'e' AND role.rolsuper)
ORDER BY what
