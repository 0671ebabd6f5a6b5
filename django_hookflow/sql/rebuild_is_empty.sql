-- Whether a projection has no row in a range of runs. By its order and not by EXISTS, so that the index is asked also of
-- a table so new that nothing is known about it.
SELECT (SELECT {run} FROM {stored} WHERE {run} BETWEEN %(from)s AND %(to)s ORDER BY {run} LIMIT 1) IS NULL
