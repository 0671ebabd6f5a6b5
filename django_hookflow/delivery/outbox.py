"""The outbox: which turns are announced and due, who sends them next, and what happens when sending fails.

Rows are written and removed by the functions in the database, with the events they belong to. Here they are only taken
for sending, which moves ``send_at``: while a message is on its way the row waits to come due again, in case the turn
never begins. ``send_at`` is never before ``due_at``, so a relay never sends a message early.
"""

from __future__ import annotations

import datetime
import logging
from functools import partial
from typing import cast
from uuid import UUID

from django.db import Error, transaction

from django_hookflow.conf import conf
from django_hookflow.delivery import wakeup
from django_hookflow.delivery.messages import DEADLINE, Message
from django_hookflow.delivery.transports import SendFailed, get_transport, hand_over
from django_hookflow.events import log
from django_hookflow.events.database import cursor, repeated_on_conflict
from django_hookflow.events.log import LEFT_TO_RELAY, Beginning, NewRun, Operated, Sending
from django_hookflow.sql import load

logger = logging.getLogger("django_hookflow.delivery")

#: How soon a relay sends what could not be published right after the commit.
FIRST_RETRY_SECONDS = 5.0


def sending() -> Sending:
    """What this process does about the messages of turns it announces. Raises NotConfigured for an unknown transport."""
    transport = get_transport()
    return Sending(conf.overdue_seconds, transport.max_delay) if transport.publishes_on_commit else LEFT_TO_RELAY


def publish_after_commit(message: Message, *, using: str) -> None:
    """Has ``message`` published once the transaction on ``using`` commits, if that is how the transport works.

    If it is not, relays are woken, should it be due. Never raises: the outbox row stands, and what is not published here
    a relay sends.
    """
    try:
        way = sending()
        if way.grace is None:
            if message.delay <= 0:
                wakeup.notify_after_commit(using=using)
        elif message.delay <= way.reach:
            transaction.on_commit(partial(_publish, message), using=using, robust=True)
    except Exception:  # no transport, or a transaction that the caller manages by hand and no hook can follow
        logger.exception("%s is left to a relay", message)


def publish_announced(workflow_id: str, run_id: str, run_uid: UUID, done: Operated, *, using: str) -> None:
    """Has the turn published that what was done to a run announced, if it announced one."""
    if done.applied and done.seq is not None:
        attempt = max(1, done.attempt or 1)
        publish_after_commit(Message(workflow_id, run_id, done.seq, run_uid, attempt, done.delay or 0.0), using=using)


def publish_started(run: NewRun, *, using: str) -> None:
    """Has the first turn of a run published that has just been started, and when its time is up."""
    publish_after_commit(Message(run.workflow_id, run.run_id, 1, run.run_uid, 1), using=using)
    if run.timeout is not None:
        deadline = Message(run.workflow_id, run.run_id, 1, run.run_uid, 1, run.timeout, DEADLINE)
        publish_after_commit(deadline, using=using)


def withdraw_after_commit(run_uid: UUID, *, using: str) -> None:
    """Has messages under way for a run called back once the transaction commits, as far as the transport can.

    Never raises, and nothing depends on it: a message that arrives all the same finds nothing to do.
    """
    transaction.on_commit(partial(_withdraw, run_uid), using=using, robust=True)


def _withdraw(run_uid: UUID) -> None:
    try:
        get_transport().withdraw(run_uid)
    except Exception as error:
        logger.info("messages of run %s were not called back: %s", run_uid, error)


def _publish(message: Message) -> None:
    try:
        hand_over(get_transport(), message)
    except SendFailed as error:
        logger.warning("%s was not published; a relay will send it: %s", message, error)
        pause = FIRST_RETRY_SECONDS if error.retry_after is None else error.retry_after
    except Exception:  # whatever went wrong, the caller's transaction is committed and its request must go on
        logger.exception("%s was not published; a relay will send it", message)
        pause = FIRST_RETRY_SECONDS
    else:
        return
    try:
        reschedule(message, pause)
    except Error:
        logger.exception("%s is unchanged and is due in %s s", message, conf.overdue_seconds)


def take_due(
    limit: int,
    *,
    until: datetime.datetime | None = None,
    is_new_first: bool = False,
    beginning: Beginning | None = None,
) -> list[Message]:
    """Up to ``limit`` messages that are due (and were at ``until``), longest due first, for this caller alone to send.

    ``is_new_first``: runs that have not begun come before that, the newest first. One statement and one commit; a message that then does not begin comes due after the overdue time. Turns that
    ``beginning`` is about have begun with it.
    """
    taken = log.take(
        limit,
        until=until,
        overdue_seconds=conf.overdue_seconds,
        is_new_first=is_new_first,
        beginning=beginning,
    )
    return [Message(t.workflow_id, t.run_id, t.seq, t.run_uid, t.attempt, kind=t.kind, claim=t.claim) for t in taken]


@repeated_on_conflict
def reschedule(message: Message, in_seconds: float) -> bool:
    """Has a message that failed sent again after ``in_seconds``, but not before it is due.

    False, and nothing is changed, when the turn has meanwhile begun or ended, or another sender has taken it. A turn that was
    begun with the message, and is not over, is handed back.
    """
    if message.claim is not None:
        return log.release(message.run_uid, message.claim.turn_seq, in_seconds)
    with cursor() as c:
        c.execute(
            load("outbox_reschedule"),
            {
                "run_uid": message.run_uid,
                "kind": message.kind,
                "seq": message.seq,
                "attempt": message.attempt,
                "in_seconds": in_seconds,
            },
        )
        return bool(c.rowcount)


def next_due() -> tuple[datetime.datetime | None, datetime.datetime]:
    """When something comes due (None when nothing is announced), and what time it is. One index-only query."""
    with cursor() as c:
        c.execute(load("outbox_next_due"))
        return cast("tuple[datetime.datetime | None, datetime.datetime]", c.fetchone())


@repeated_on_conflict
def catch_up(*, is_back: bool = False) -> int:
    """Has what was put off by a clock that has gone back since sent now, if it is due; how much that was.

    That is what was announced later than now, to begin at once; ``is_back`` says that the clock has been seen to go back,
    and then it is everything that is due. Ends of runs that are still waited for are handed on again, too.
    """
    with cursor() as c:
        c.execute(load("outbox_catch_up"), {"is_back": is_back})
        return int(c.rowcount) + log.rejoin()
