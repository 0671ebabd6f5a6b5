-- What would run, or decide, when somebody touches a table of ours and is not a trigger: rules, row security, tables that
-- inherit; and functions of others in defaults, generated columns, CHECKs, indexes and statistics. Dependencies name every
-- function but PostgreSQL's own. An extension's are left alone if a superuser owns them: anybody else can make a function of
-- his own a member of an extension of his own. roles.sql asks the same.
WITH relation AS (SELECT * FROM pg_catalog.pg_class WHERE oid = ANY (%(relations)s::oid[])),
used AS (
  SELECT 'pg_catalog.pg_attrdef'::regclass::oid AS classid, d.oid AS objid, d.adrelid AS relid,
    pg_catalog.format('default of column %%I', a.attname) AS what
  FROM pg_catalog.pg_attrdef AS d JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass::oid, oid, conrelid, pg_catalog.format('constraint %%I', conname)
  FROM pg_catalog.pg_constraint
  UNION ALL SELECT 'pg_catalog.pg_class'::regclass::oid, indexrelid, indrelid,
    pg_catalog.format('index %%s', indexrelid::regclass) FROM pg_catalog.pg_index
  UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::regclass::oid, oid, stxrelid, pg_catalog.format('statistics %%I', stxname)
  FROM pg_catalog.pg_statistic_ext
),
called AS (
  SELECT used.relid, used.what, coalesce(operator.oprcode::oid, family.amproc::oid, part.refobjid) AS routine
  FROM used JOIN pg_catalog.pg_depend AS part ON part.classid = used.classid AND part.objid = used.objid
    AND part.refclassid IN ('pg_catalog.pg_proc'::regclass::oid, 'pg_catalog.pg_operator'::regclass::oid,
                            'pg_catalog.pg_opclass'::regclass::oid)
  LEFT JOIN pg_catalog.pg_operator AS operator
    ON operator.oid = part.refobjid AND part.refclassid = 'pg_catalog.pg_operator'::regclass::oid
  LEFT JOIN pg_catalog.pg_opclass AS class
    ON class.oid = part.refobjid AND part.refclassid = 'pg_catalog.pg_opclass'::regclass::oid
  LEFT JOIN pg_catalog.pg_amproc AS family ON family.amprocfamily = class.opcfamily
)
SELECT pg_catalog.format('rule %%I', r.rulename), r.ev_class::bigint, NULL::text
FROM pg_catalog.pg_rewrite AS r JOIN relation ON relation.oid = r.ev_class
WHERE NOT (r.rulename = '_RETURN' AND relation.relkind = 'v')
UNION ALL SELECT pg_catalog.format('policy %%I', polname), polrelid::bigint, NULL
FROM pg_catalog.pg_policy JOIN relation ON relation.oid = polrelid
UNION ALL SELECT 'row security', oid::bigint, NULL FROM relation WHERE relrowsecurity OR relforcerowsecurity
UNION ALL SELECT pg_catalog.format('inheriting table %%s', inhrelid::regclass), inhparent::bigint, NULL
FROM pg_catalog.pg_inherits JOIN relation ON relation.oid = inhparent AND relation.relkind <> 'p'
UNION ALL SELECT DISTINCT called.what, called.relid::bigint, routine.oid::regprocedure::text
FROM called JOIN relation ON relation.oid = called.relid JOIN pg_catalog.pg_proc AS routine ON routine.oid = called.routine
WHERE routine.proowner <> %(owner)s::oid AND routine.pronamespace <> 'pg_catalog'::regnamespace::oid
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS part JOIN pg_catalog.pg_roles AS owner ON owner.oid = routine.proowner
                  WHERE part.classid = 'pg_catalog.pg_proc'::regclass::oid AND part.objid = routine.oid AND part.deptype = 'e'
                    AND owner.rolsuper)
ORDER BY 2, 1
