"""The page of one run, and what leads on from it: its download, its proof sheet, and beside another run.

What is shown is the run as it was known at one of its events (:mod:`.as_of_choice`, :mod:`.run_state`), mostly the
last: where its time went (:mod:`.waterfall`), what it holds (:mod:`.run_values`), what it started (:mod:`.children`),
and a window of its log (:mod:`.event_log`). :mod:`.page` puts them together.
"""
