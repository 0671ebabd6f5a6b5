"""What all commands of this package have in common: what they cannot work with ends them with a sentence, not a traceback."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from django_hookflow.events.database import alias, first_line, is_connection_lost, log_connection
from django_hookflow.exceptions import HookFlowException, UnknownRun
from django_hookflow.timeline.similar_ids import did_you_mean


class LogCommand(BaseCommand):
    """A command that works on the log. Errors of this package, and a database out of reach, become a CommandError."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except CommandError:
            raise
        except UnknownRun as error:
            raise CommandError(f"{error}{did_you_mean(error.run_id, alias())}") from error
        except UnicodeEncodeError as error:
            if error.reason != "surrogates not allowed":  # as Python has the bytes of an argument that are no UTF-8
                raise
            raise CommandError(f"{error.object!r:.80} is not valid UTF-8: check the arguments") from error
        except HookFlowException as error:
            raise CommandError(str(error)) from error
        except (DatabaseError, InterfaceError, ImproperlyConfigured) as error:
            database = log_connection()
            if database.vendor != "postgresql":
                raise CommandError(
                    f"the database {database.alias!r} is {database.display_name}, but the event log needs PostgreSQL: "
                    "use django.db.backends.postgresql, or route the app django_hookflow to a PostgreSQL database"
                ) from error
            if isinstance(error, ImproperlyConfigured) or not is_connection_lost(error):
                raise
            raise CommandError(describe_outage(error)) from error


def describe_outage(error: Exception) -> str:
    """One sentence for a database that does not answer: what the driver says, and the way out."""
    return (
        f"the database {alias()!r} cannot be reached: {first_line(error)}. Check that it is running and that DATABASES "
        "in the settings is correct"
    )
