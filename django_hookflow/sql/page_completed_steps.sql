-- The steps that had completed when a run had so many events, in that order, without what they returned.
SELECT step_id FROM hookflow_fold_steps_as_of(%(run_uid)s, %(seq)s) ORDER BY seq LIMIT %(limit)s
