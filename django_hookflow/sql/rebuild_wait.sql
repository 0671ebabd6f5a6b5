-- Takes the head of one run, waiting for whoever holds it; nobody waits for us meanwhile, for we hold nothing else.
SELECT run_uid FROM django_hookflow_head WHERE run_uid = %(from)s AND archived_at IS NULL FOR NO KEY UPDATE
