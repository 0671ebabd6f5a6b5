"""The database that holds the log: the one Django's routers name for writing events."""

from __future__ import annotations

import datetime
import functools
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import psycopg
from django.apps import apps
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connections,
    router,
    transaction,
)
from django.db.models import Model
from django.db.transaction import TransactionManagementError
from django.db.utils import DatabaseErrorWrapper
from psycopg import errors
from psycopg.pq import TransactionStatus

from django_hookflow.conf import conf, is_stateless
from django_hookflow.exceptions import NeedsLog, NotMigrated, PermissionDenied

P = ParamSpec("P")
R = TypeVar("R")

APP = "django_hookflow"
PERSISTENCE = "DJANGO_HOOKFLOW_PERSISTENCE_ENABLED"
#: Times that a call is made which PostgreSQL refuses because of what others do at the same moment.
TRIES = 10
#: Seconds: the longest pause before the first repetition, which doubles with each, and before any.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0


def alias() -> str:
    """The alias of the log's database. Raises NeedsLog in the stateless mode, which has none."""
    return router.db_for_write(apps.get_model(APP, "WorkflowEvent"))


class RouterWithoutLog:
    """The first of Django's routers in the stateless mode: models of this package are not for reading or writing.

    Migrations make their tables on PostgreSQL, where they are then found when the log is turned on, and nothing elsewhere.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> None:
        if model._meta.app_label == APP:
            raise NeedsLog

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label == APP and connections[db].vendor != "postgresql" else None


def follow_mode(setting: str = PERSISTENCE, **kwargs: Any) -> None:
    """Puts that router where it belongs, or takes it away: at start-up, and when a test overrides the setting.

    The mode is not looked up for each query: the alias is asked for with every step.
    """
    if setting == PERSISTENCE:
        others = [each for each in router.routers if not isinstance(each, RouterWithoutLog)]
        router.routers[:] = [RouterWithoutLog(), *others] if is_stateless() else others


def cursor() -> AbstractContextManager[Any]:
    """A cursor on the log's database, as a context manager."""
    return connections[alias()].cursor()


@contextmanager
def only_for(role: str, what: str) -> Iterator[None]:
    """Raises PermissionDenied where this login may not do ``what``, which is for ``role`` to do."""
    try:
        yield
    except ProgrammingError as error:
        if isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise PermissionDenied(what, role) from error
        raise


def owners_only(what: str) -> AbstractContextManager[None]:
    """Raises PermissionDenied where this login may not do ``what``, which is the owner's."""
    return only_for("hookflow_owner", what)


#: A function, a table or a column of a table of ours, as PostgreSQL names it in whatever language.
_OURS = re.compile(r"\b(?:django_)?hookflow_\w+(?:\.\w+)?")
_UNDEFINED = errors.UndefinedFunction, errors.UndefinedTable, errors.UndefinedColumn


class ErrorsOfConnection(DatabaseErrorWrapper):
    """Django's translation of a connection's errors, and NotMigrated for what migrations of ours would have made."""

    wrapper: Any

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, _UNDEFINED) and (missing := _OURS.search(error.diag.message_primary or "")):
            self.wrapper.errors_occurred = True
            raise NotMigrated(missing[0], self.wrapper.alias).with_traceback(traceback) from error
        super().__exit__(kind, error, traceback)


def name_missing_migrations(connection: Any, **kwargs: Any) -> None:
    """Does so for a connection that has been opened, whoever asks through it: the ORM, a cursor, or :func:`fetch_hot`."""
    if connection.vendor == "postgresql":
        connection.wrap_database_errors = ErrorsOfConnection(connection)


def database_now() -> datetime.datetime:
    """What time it is by the clock that runs go by."""
    with cursor() as c:
        c.execute("SELECT hookflow_now()")
        now: datetime.datetime = c.fetchone()[0]
    return now


def diagnosis(error: BaseException, field: str) -> str | None:
    """What the server says of ``error`` in this field, as psycopg names it (``constraint_name``, say); None if nothing."""
    return getattr(getattr(error.__cause__, "diag", None), field, None)


#: The ``prepare_threshold`` of a session on which psycopg prepares what it is told to and nothing else: no statement is run
#: so often.
HOT_ALONE = sys.maxsize
#: How many hot statements a session has run before anything is prepared on it: one that lives for a request would only lose.
KEPT_AFTER = 20


class _Hot:
    """The hot statements of a thread on one session: a cursor, and how often it was used."""

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        self.cursor = psycopg.Cursor(session)
        self._uses = 0
        self._prepares: bool | None = None

    def is_to_prepare(self, connection: Any) -> bool | None:
        """Of the statement that is run now; None: as psycopg has it.

        As the setting says or, where it leaves that open, the connection's OPTIONS; else where the session is kept and no
        pooler is between: one that gives each transaction another session cannot say which it is, and makes a number up.
        """
        self._uses += 1
        if self._uses == 1:
            self._settle(conf.prepared_statements)
        elif self._uses == KEPT_AFTER and self._prepares is None:
            says_nothing = "prepare_threshold" not in connection.settings_dict["OPTIONS"]
            if says_nothing and self._is_direct():
                self._settle(True)
        return self._prepares

    def _settle(self, prepares: bool | None) -> None:
        self._prepares = prepares
        session = self.cursor.connection
        if prepares and session.prepare_threshold is None:
            session.prepare_threshold = HOT_ALONE

    def _is_direct(self) -> bool:
        self.cursor.execute("SELECT pg_backend_pid()")
        return self.cursor.fetchone() == (self.cursor.connection.info.backend_pid,)


class _Standing(threading.local):
    """What a thread has of each connection."""

    def __init__(self) -> None:
        self.hot: dict[str, _Hot] = {}


_standing = _Standing()


def fetch_hot(statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What the statement answers: for the few that are run for every turn and every step.

    Its arguments are bound by the server, which prepares it where the session is kept (:class:`_Hot`). It passes by Django's
    cursors, which bind on the client and register type loaders anew each time; but whoever looks at queries sees these, too.
    """
    using = alias()
    connection = connections[using]
    answer: list[tuple[Any, ...]]
    if connection.queries_logged or connection.execute_wrappers:
        with connection.cursor() as c:
            c.execute(statement, arguments)
            answer = c.fetchall()
        return answer
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors:
        hot = _hot_of(connection)
        cursor = hot.cursor
        try:
            cursor.execute(statement, arguments, prepare=hot.is_to_prepare(connection))
        except (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement):
            # A pooler has put another session behind the connection: on this one nothing is prepared any more.
            cursor.connection.prepare_threshold = None
            if cursor.connection.info.transaction_status != TransactionStatus.IDLE:
                raise
            cursor.execute(statement, arguments)
        answer = cursor.fetchall()
    return answer


def _hot_of(connection: Any) -> _Hot:
    hot = _standing.hot.get(connection.alias)
    if hot is None or hot.cursor.connection is not connection.connection or hot.cursor.closed:
        hot = _standing.hot[connection.alias] = _Hot(connection.connection)
    return hot


def repeated_on_conflict(call: Callable[P, R]) -> Callable[P, R]:
    """``call``, made again where PostgreSQL undid it for the sake of a transaction at the same moment.

    That is a deadlock, a lock that did not come within the session's ``lock_timeout`` or, where transactions are by
    default more than read committed, two that touch the same row. Inside a transaction it is raised: only the whole of
    that could be repeated.
    """

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        attempt: Callable[P, R] = call
        for repetition in range(TRIES - 1):
            try:
                return attempt(*args, **kwargs)
            except DatabaseError as error:
                if not is_conflict(error) or connections[alias()].in_atomic_block:
                    raise
            # Those who lost to one transaction would lose to the next together if they all came back at once.
            time.sleep(random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**repetition)))
            attempt = functools.partial(_in_turn, call)
        return attempt(*args, **kwargs)

    return wrapper


def _in_turn(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """``call`` in a transaction that may go on when it has waited for another, whatever is the session's default.

    Of a hundred that are more than read committed and wait for one row, 99 are undone each time. The functions lock what
    they decide by, and ask for no more.
    """
    with transaction.atomic(using=alias()):
        with cursor() as c:
            c.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return call(*args, **kwargs)


def is_conflict(error: BaseException | None) -> bool:
    """Whether the transaction is to be repeated: it would have met no error without the others."""
    conflicts = errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable
    return isinstance(getattr(error, "__cause__", None), conflicts)


def first_line(error: BaseException) -> str:
    """A database error without its details, which may quote rows, and without a full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].removeprefix("connection failed: ").rstrip(".")


def is_connection_lost(error: DatabaseError | InterfaceError) -> bool:
    """Whether there was nobody to answer, or the server ended the session; otherwise it has refused what was asked.

    A session that was ended for staying idle in its transaction (25P03) was refused: the same work would end so again.
    """
    state: str | None = getattr(error.__cause__, "sqlstate", None)
    if state is None:
        return isinstance(error, (OperationalError, InterfaceError))
    return state.startswith(("08", "57P0"))


def log_connection() -> Any:
    """This thread's connection to the log's database, as Django has it: the same object for as long as the thread lives."""
    return connections[alias()]


def transaction_depth(connection: Any) -> int:
    """How many transactions are open there, one in the other: with ``atomic()``, and one begun in another way."""
    if connection.in_atomic_block:
        return len(connection.atomic_blocks)
    if (
        connection.connection is None or connection.vendor != "postgresql"
    ):  # the stateless mode's, which Django alone knows
        return 0
    is_idle = connection.connection.pgconn.transaction_status in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)
    return 0 if is_idle and connection.autocommit else 1


def find_other_transaction() -> str | None:
    """The alias of a database, not the log's, in which a transaction is open; that of a test, which never commits, apart."""
    own = alias()
    return next((c.alias for c in connections.all(initialized_only=True) if c.alias != own and _will_commit(c)), None)


def after_other_transactions(work: Callable[[], object]) -> None:
    """Does ``work`` once what is open in other databases has committed; at once when nothing is. Not after a rollback."""
    other = find_other_transaction()
    if other is None:
        work()
    else:
        using = alias() if _will_commit(connections[alias()]) else other
        transaction.on_commit(functools.partial(after_other_transactions, work), using=using)


def _will_commit(connection: Any) -> bool:
    return connection.in_atomic_block and not getattr(connection.atomic_blocks[0], "_from_testcase", False)


def check_transaction() -> None:
    """Raises TransactionManagementError if nothing more can be written in the transaction this thread is in."""
    connection = connections[alias()]
    failed = connection.connection is not None and (
        connection.connection.info.transaction_status == TransactionStatus.INERROR
    )
    if failed or connection.needs_rollback:
        raise TransactionManagementError(
            "a database error was caught inside the transaction, which can now only be rolled back: wrap the code "
            "that may fail in its own transaction.atomic() and catch the error outside that block"
        ) from getattr(connection, "rollback_exc", None)


def mend_connection(connection: Any) -> bool:
    """Drops this thread's connection if it is broken or in a transaction that somebody began by hand and did not end.

    Says whether the next statement opens another.

    Inside a transaction it is left as it is: what has been written there is lost with it, or stands with it.
    """
    if connection.in_atomic_block:
        return False
    if transaction_depth(connection):
        connection.close()
    connection.close_if_unusable_or_obsolete()
    return connection.connection is None
