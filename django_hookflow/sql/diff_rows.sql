-- The rows that diff_range finds, column by column: as stored, then as folded.
SELECT head_run_id, (stored).*, (folded).*
FROM ({difference}) AS difference
ORDER BY {stored_key}, {folded_key}
