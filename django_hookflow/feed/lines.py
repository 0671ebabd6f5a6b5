"""Events as lines of JSON, for programs that are not this one.

``jsonl``: one object an event. ``facts`` and ``payload`` are the JSON that was recorded, to the letter; the payload of a
redacted event is what was retained of it, or null, and ``redacted`` is true.

``cloudevents``: the same in the envelope of CloudEvents 1.0, JSON format, where facts and payload are members of ``data``.
``source`` is the workflow, ``subject`` the run; ``id`` names the event for ever, so whoever gets it twice recognises it.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from django_hookflow.conf import conf
from django_hookflow.feed.reader import FeedEvent

CLOUDEVENT_TYPE_PREFIX = "django_hookflow."


def to_json_line(event: FeedEvent) -> str:
    """The event as one line, without its end."""
    return _line(
        {
            "position": event.position,
            "run_id": event.run_id,
            "run_uid": str(event.run_uid),
            "workflow_id": event.workflow_id,
            "seq": event.seq,
            "type": event.type,
            "step_id": event.step_id,
            "actor": event.actor,
            "recorded_at": _rfc3339(event.recorded_at),
            "redacted": event.is_redacted,
            "hash": bytes(event.hash).hex(),
        },
        _contents(event),
    )


def to_cloudevent_line(event: FeedEvent) -> str:
    """The event in a CloudEvents envelope, as one line. Attributes that do not apply are left out, as the format asks."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{event.run_uid}/{event.seq}",
        "source": f"{conf.domain or ''}{conf.webhook_path}workflow/{quote(event.workflow_id or '', safe='')}/",
        "type": f"{CLOUDEVENT_TYPE_PREFIX}{event.type}",
        "subject": event.run_id or None,
        "time": _rfc3339(event.recorded_at),
        "datacontenttype": "application/json",
        # Extensions: lower-case letters and digits only. A CloudEvents integer has 32 bits, so a position is a string.
        "position": str(event.position),
        "seq": event.seq,
        "stepid": event.step_id or None,
        "actor": event.actor or None,
        "redacted": event.is_redacted or None,
    }
    return _line(
        {name: value for name, value in attributes.items() if value is not None}, f'"data":{{{_contents(event)}}}'
    )


FORMATS: dict[str, Callable[[FeedEvent], str]] = {"jsonl": to_json_line, "cloudevents": to_cloudevent_line}


def _contents(event: FeedEvent) -> str:
    """Facts and payload as members of an object, copied and not parsed: numbers and the order of keys stay as they are."""
    return f'"facts":{_on_one_line(event.facts)},"payload":{_on_one_line(event.payload or "null")}'


def _line(members: dict[str, Any], last: str) -> str:
    """An object of ``members`` and, as JSON text, a last one."""
    return f"{json.dumps(members, ensure_ascii=False, separators=(',', ':'))[:-1]},{last}}}"


def _on_one_line(text: str) -> str:
    # A line break in JSON text can only stand between values, where a space means the same.
    return text.replace("\n", " ").replace("\r", " ")


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
