"""Values as JSON that come back equal to what went in, or are refused.

Plain JSON types stand for themselves. These are tagged, as an object with the one key given here, and come back as
what they were: ``$tuple``, ``$set``, ``$frozenset``, ``$decimal``, ``$datetime``, ``$date``, ``$time``, ``$timedelta``
(days, seconds, microseconds), ``$uuid``, ``$bytes`` (base64) and ``$dict`` (pairs, for a dict whose keys are not all
strings or that would read as a tag). An aware datetime keeps its instant and its offset, not the name of its zone, but
for the hours that a zone has twice or not at all: a datetime in one equals none of another zone (PEP 495), so it is
recorded as text, IANA name of the zone and fold, and so are naive ones with ``fold=1``, whose zone is null.
Subclasses of these types (a ``TextChoices`` member, an ``OrderedDict``) come back as the base type, which equals them.

Refused, with the path to the culprit: any other type, NaN and infinities, integers of more than 4,000 digits, the NUL
character and lone surrogates (PostgreSQL cannot hold them), nesting deeper than 200, more bytes than the limit, and
what would come back unequal (a datetime with nanoseconds, one in an hour that a zone without a name has twice).
"""

from __future__ import annotations

import base64
import datetime
import inspect
import json
import math
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django_hookflow.exceptions import NotSerializable

#: json.loads and PostgreSQL both recurse; this is far below what either can take, and deep enough for real data.
MAX_DEPTH = 200
#: Python refuses to print integers of more than 4,300 digits (CVE-2020-10735); 13,287 bits are 4,000 digits.
MAX_INT_BITS = 13_287

_as_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(value: Any, *, path: str, limit: int) -> str:
    """The JSON text of ``value``. Raises NotSerializable, whose message names ``path``, the problem and the way out."""
    text = _as_text(_Encoder(limit, path).walk(value, path, 0))
    size = len(text) if text.isascii() else len(text.encode())
    if size > limit:
        raise _too_large(path, limit, f"{size:,} bytes, more")
    return text


def decode(text: str) -> Any:
    """The value whose JSON text :func:`encode` made."""
    return untag(json.loads(text)) if '"$' in text else json.loads(text)


def untag(value: Any) -> Any:
    """``value`` as ``json.loads`` gave it, with tags turned back into what they stand for."""
    if isinstance(value, list):
        return [untag(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, content),) = value.items()
        restore = _RESTORERS.get(tag)
        if restore is not None:
            return restore(content)
    return {key: untag(item) for key, item in value.items()}


class _Encoder:
    """One walk over a value. ``room`` counts down a lower bound of its size, so that a giant is refused early."""

    def __init__(self, limit: int, root: str) -> None:
        self.limit = limit
        self.root = root
        self.room = limit

    def walk(self, value: Any, path: str, depth: int) -> Any:
        self._take(1)
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int):
            if value.bit_length() > MAX_INT_BITS:
                raise NotSerializable(path, "an integer of more than 4,000 digits; record it as text")
            return int.__int__(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise NotSerializable(path, f"{value!r} is not a valid JSON number; record None or text")
            return float.__float__(value)
        if depth >= MAX_DEPTH:
            raise NotSerializable(path[:200], f"nested deeper than {MAX_DEPTH} levels, or contains itself")
        if isinstance(value, dict):
            return self._dict(value, path, depth)
        if isinstance(value, (list, tuple)):
            items = [self.walk(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        return self._tagged(value, path, depth)

    def _take(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise _too_large(self.root, self.limit, "more bytes")

    def _text(self, value: str, path: str) -> str:
        self._take(len(value))
        if "\x00" in value:
            raise NotSerializable(path, "text with a NUL character, which PostgreSQL cannot hold; remove it")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise NotSerializable(
                    path, "text with a lone surrogate, which is not Unicode; decode it first"
                ) from None
        return str.__str__(value)

    def _dict(self, value: dict[Any, Any], path: str, depth: int) -> dict[str, Any]:
        items = list(dict.items(value))  # the dict's own, also where a subclass (QueryDict) shows something else
        if all(isinstance(key, str) for key, _ in items) and not (len(items) == 1 and items[0][0].startswith("$")):
            return {self._text(k, path): self.walk(v, f"{path}[{k!r}]", depth + 1) for k, v in items}
        pairs = [
            [self.walk(k, f"{path} key {k!r:.50}", depth + 1), self.walk(v, f"{path}[{k!r:.50}]", depth + 1)]
            for k, v in items
        ]
        return {"$dict": pairs}

    def _tagged(self, value: Any, path: str, depth: int) -> dict[str, Any]:
        if isinstance(value, (set, frozenset)):
            items = [self.walk(item, f"{path}{{…}}", depth + 1) for item in value]
            return {"$set" if isinstance(value, set) else "$frozenset": sorted(items, key=json.dumps)}
        for kind, tag, dump in _DUMPERS:
            if isinstance(value, kind):
                if isinstance(value, Decimal) and not value.is_finite():
                    raise NotSerializable(path, f"{value!r} is not a finite number; record None or text")
                dumped = dump(value)
                self._take(len(dumped))
                if tag in _CHECKED and not _comes_back(tag, dumped, value):
                    raise NotSerializable(
                        path, f"{value!r:.200} does not compare equal after a JSON round trip; {_way_out(value)}"
                    )
                return {tag: dumped}
        raise NotSerializable(path, f"{_name(value)} is not a type that can be recorded; {_way_out(value)}")


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _comes_back(tag: str, dumped: Any, value: Any) -> bool:
    try:
        return bool(_RESTORERS[tag](dumped) == value)
    except (ValueError, OverflowError):
        return False


def _way_out(value: Any) -> str:
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return "record value.astimezone(datetime.timezone.utc)"
    if inspect.isawaitable(value):
        return "it is a coroutine that was not awaited: await it, or call the async function with asgiref.sync.async_to_sync"
    if hasattr(value, "_meta") and hasattr(value, "pk"):
        return "return its pk, or a dict of the values later steps need"
    if hasattr(value, "values_list"):
        return "return list(queryset.values(…)) or a list of pks"
    if hasattr(value, "__dataclass_fields__"):
        return "return dataclasses.asdict(…)"
    return "return plain data: None, bool, int, float, str, list, dict, tuple, set, Decimal, date and time types, UUID, bytes"


def _too_large(path: str, limit: int, problem: str) -> NotSerializable:
    return NotSerializable(
        path,
        f"{problem} than the limit of {limit:,} (DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE); store it elsewhere and record a reference",
    )


def _dump_moment(value: Any) -> str | list[Any]:
    """A datetime or time as text; with zone and fold where the text alone would not come back equal."""
    kind = datetime.datetime if isinstance(value, datetime.datetime) else datetime.time
    text = kind.isoformat(value)
    zone = getattr(value.tzinfo, "key", None) if kind is datetime.datetime else None
    if value.tzinfo is None and value.fold:
        return [text, None, 1]
    if isinstance(zone, str) and kind.fromisoformat(text) != value:
        return [text, zone, value.fold]
    return text


def _moment_restorer(kind: type[datetime.datetime] | type[datetime.time]) -> Callable[[Any], Any]:
    def restore(content: Any) -> Any:
        if isinstance(content, str):
            return kind.fromisoformat(content)
        text, zone, fold = content
        moment = kind.fromisoformat(text)
        if zone is None:
            return moment.replace(fold=fold)
        try:
            there = moment.replace(tzinfo=ZoneInfo(zone), fold=fold)
        except (LookupError, ValueError, OSError):  # a zone that this machine does not know
            return moment
        return there if there.utcoffset() == moment.utcoffset() else moment  # the zone's rules have changed since

    return restore


#: Whose text may lose something: in subclasses with nanoseconds, in zones with hours that are there twice.
_CHECKED = frozenset({"$datetime", "$date", "$time", "$timedelta"})

# datetime before date: a datetime is a date.
_DUMPERS: list[tuple[type, str, Callable[[Any], Any]]] = [
    (Decimal, "$decimal", Decimal.__str__),
    (datetime.datetime, "$datetime", _dump_moment),
    (datetime.date, "$date", datetime.date.isoformat),
    (datetime.time, "$time", _dump_moment),
    (datetime.timedelta, "$timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    (uuid.UUID, "$uuid", uuid.UUID.__str__),
    (bytes, "$bytes", lambda value: base64.b64encode(value).decode()),
]

_RESTORERS: dict[str, Callable[[Any], Any]] = {
    "$tuple": lambda items: tuple(untag(item) for item in items),
    "$set": lambda items: {untag(item) for item in items},
    "$frozenset": lambda items: frozenset(untag(item) for item in items),
    "$dict": lambda pairs: {untag(key): untag(value) for key, value in pairs},
    "$decimal": Decimal,
    "$datetime": _moment_restorer(datetime.datetime),
    "$date": datetime.date.fromisoformat,
    "$time": _moment_restorer(datetime.time),
    "$timedelta": lambda parts: datetime.timedelta(*parts),
    "$uuid": uuid.UUID,
    "$bytes": base64.b64decode,
}
