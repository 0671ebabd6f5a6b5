"""A message: the hint that a run may have a turn to take. It names the run and a seq and never carries state,
but for the stateless mode's (:mod:`.carrying`)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils.encoding import escape_uri_path

from django_hookflow.conf import conf
from django_hookflow.exceptions import HookFlowException, NotConfigured

if TYPE_CHECKING:
    from django_hookflow.events.log import Claim

#: What a message announces: a turn, that the run's time may be up, or that it has ended, which may concern other runs.
TURN, DEADLINE, ENDED = "turn", "deadline", "ended"
#: A turn, too, with the history of its run: in the stateless mode, and of a release 0.0.x (which names no kind).
HISTORY, CARRIED = "history", "carried"

#: The largest ``integer`` of PostgreSQL, the type of a seq.
MAX_SEQ = 2**31 - 1
#: Characters; as long are the names that 0.0.x gave runs and steps.
MAX_NAME = 255


class BadMessage(HookFlowException):
    """The body of a delivery is not a message of ours."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f'the body is not a hookflow message: {problem}; expected {{"workflow_id": str, "run_id": str, "seq": int, "kind": str or absent}}'
        )


@dataclass(frozen=True)
class Message:
    """One announcement to the run: of the turn at ``seq``, or of what else ``kind`` names.

    ``attempt`` counts announcements from 1, ``delay`` is in seconds. ``claim``: its turn has begun, for whoever has this.
    """

    workflow_id: str
    run_id: str
    seq: int
    run_uid: UUID
    attempt: int
    delay: float = 0.0
    kind: str = TURN
    claim: Claim | None = field(default=None, repr=False, compare=False)

    def body(self) -> bytes:
        """What is sent: compact JSON whose size depends on the two ids alone, not on how far the run has come."""
        fields: dict[str, Any] = {"workflow_id": self.workflow_id, "run_id": self.run_id, "seq": self.seq}
        if self.kind != TURN:
            fields["kind"] = self.kind
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()

    def url(self) -> str:
        """Where it is sent. Raises NotConfigured without DJANGO_HOOKFLOW_DOMAIN."""
        return webhook_url(self.workflow_id)

    @property
    def deduplication_id(self) -> str:
        """Names this publication, not the state of the run: QStash swallows a repeated id for ten minutes."""
        return f"{self.run_uid}-{self.seq}-{self.attempt}" + ("" if self.kind == TURN else f"-{self.kind}")

    def __str__(self) -> str:
        what = "" if self.kind == TURN else f"{self.kind} of "
        return f"{what}{self.workflow_id}/{self.run_id} at seq {self.seq}, attempt {self.attempt}"


def webhook_url(workflow_id: str) -> str:
    """The URL at which deliveries for a workflow reach the app."""
    return public_url(f"workflow/{workflow_id}/")


def public_url(path: str) -> str:
    """The URL at which a path below ``django_hookflow.urls`` is reached, escaped as Django escapes a request's path."""
    domain = conf.domain
    if not domain:
        raise NotConfigured(
            "DJANGO_HOOKFLOW_DOMAIN",
            "set it to the public origin of this app, for example https://my-app.com",
        )
    return domain + escape_uri_path(conf.webhook_path + path)


@dataclass(frozen=True)
class Received:
    """What the body of a delivery says. A message of 0.0.x carries what its run began with, and its results."""

    kind: str
    workflow_id: str
    run_id: str
    seq: int
    content: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


def parse_body(raw: bytes) -> Received:
    """What a delivery's body says. Raises BadMessage for anything that is not a message."""
    try:
        content = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        # ValueError: not UTF-8, not JSON, an integer of too many digits. RecursionError: a nest of brackets.
        raise BadMessage(f"malformed JSON ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise BadMessage(f"a JSON {type(content).__name__}, not an object")
    if "seq" not in content and "completed_steps" in content:
        return Received(CARRIED, _text(content, "workflow_id"), _text(content, "run_id"), 0, content)
    kind = _text(content, "kind") if "kind" in content else TURN
    return Received(kind, _text(content, "workflow_id"), _text(content, "run_id"), _seq(content), content)


def _text(content: dict[str, Any], key: str) -> str:
    value = _value(content, key)
    if not isinstance(value, str) or not value:
        raise BadMessage(f"{key} is not a non-empty string")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadMessage(f"{key} holds characters that no id can have")  # and that PostgreSQL would refuse loudly
    return value


def _seq(content: dict[str, Any]) -> int:
    value = _value(content, "seq")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEQ:
        raise BadMessage("seq is not an integer of at least 0")
    return value


def _value(content: dict[str, Any], key: str) -> Any:
    if key not in content:
        raise BadMessage(f"{key} is missing")
    return content[key]
