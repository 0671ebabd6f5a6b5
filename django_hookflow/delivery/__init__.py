"""Getting a run its turns: announced in the outbox, sent by a transport, begun by whoever receives the message.

In order: the transaction that makes a turn necessary writes an outbox row (the functions in the database do that).
Right after its commit :mod:`.outbox` has the message published, if the transport publishes from the web process.
Whatever was not published, or was and did not begin, comes due in the outbox, and a :mod:`.relay` sends it. The message
(:mod:`.messages`) names a run and a seq and nothing else; the receiver checks who sent it with :mod:`.signature`. In the
stateless mode there is no outbox, and the message carries the history of its run (:mod:`.carrying`).

What must stay true: a row leaves the outbox by the turn it announces, or when all is done that the end of a run leads to,
never by being sent. So a message may be lost,
late, doubled or reordered anywhere on its way, and a relay may die at any moment: the run's turn comes again.

Nothing here imports ``django_hookflow.runtime``; the inline transport is handed what runs a turn.
"""
