"""The list of runs. What each request asks for is one :class:`~.listing.RunChangeList`: tabs, search, filters, rows.

:mod:`.page` is the part of the model's admin that shows it. Searching (:mod:`.search`, :mod:`.data_search`) looks along
one index for at most some seconds; what stands above and in the rows (:mod:`.summary`, :mod:`.backlog`,
:mod:`.sparkline`) costs the same with a million runs; and a list of nothing says what to do (:mod:`.emptiness`).
"""
