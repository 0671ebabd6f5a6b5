"""A turn: one delivery's worth of work on a run.

:func:`.turn.run_turn` claims the run (at most one worker has it), reads its history once, and calls the workflow
function from the top with a context. Each ``ctx.step.…`` call (:mod:`.steps`) asks :mod:`.history` for its id: what is
recorded is answered from the record, what is not is executed and recorded, one commit a step, before the next begins.
So the turn works its way through the steps until the function returns or raises, which ends the run, or until it
sleeps, must retry or has done its share, which ends the turn and announces the next one in the same commit.

What a turn reads and appends to is a journal (:mod:`.journal`): the log or, in the stateless mode (:mod:`.stateless`), the
history in the message that announced the turn.

What must stay true:

* the value a step returns is the decoded record, also the first time;
* no transaction is open while user code runs, save in ``step.atomic``, whose point it is;
* a worker that has lost the run writes nothing: its appends are refused by what it does not know of the log;
* when anything goes wrong here, nothing is decided: the turn stays announced and is taken up again.
"""
