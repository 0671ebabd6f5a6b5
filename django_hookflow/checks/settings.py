"""The settings one by one: type and range, names, the transport and what it cannot go without, checkpoint keys."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage

from django_hookflow import wrappers
from django_hookflow.checks.messages import error, warning
from django_hookflow.conf import SETTINGS, TRANSPORTS, InvalidSetting, is_stateless
from django_hookflow.evidence import signing
from django_hookflow.exceptions import NeedsLog

if TYPE_CHECKING:
    from collections.abc import Collection

PREFIX = "DJANGO_HOOKFLOW_"


def check_values(**kwargs: Any) -> list[CheckMessage]:
    """E001, W006: each value is of its type and in its range; no text was pasted with a line break."""
    found: list[CheckMessage] = []
    for setting in SETTINGS.values():
        value = setting.read()
        fault = setting.find_fault(value)
        if fault:
            found.append(error("E001", f"{setting.name} {fault}.", f"Set it to {setting.kind_name}."))
        elif isinstance(value, str) and value != value.strip() and not value.startswith("-----BEGIN "):
            found.append(
                warning(
                    "W006",
                    f"{setting.name} starts or ends with whitespace.",
                    "Remove it; it usually comes from a file or from copy and paste.",
                )
            )
    return found


def check_names(**kwargs: Any) -> list[CheckMessage]:
    """W002: a setting with this package's prefix that this package does not know."""
    return [
        warning("W002", f"{name} is not a django-hookflow setting and has no effect.", _suggest(name, SETTINGS))
        for name in sorted(dir(settings))
        if name.startswith(PREFIX) and name not in SETTINGS
    ]


def check_transport(**kwargs: Any) -> list[CheckMessage]:
    """E002, E003: the transport exists, and so does the mode."""
    found: list[CheckMessage] = []
    transport = read_text("DJANGO_HOOKFLOW_TRANSPORT")
    if transport not in ("", *TRANSPORTS):
        found.append(
            error(
                "E002",
                f"DJANGO_HOOKFLOW_TRANSPORT is {transport!r}, which is not a known transport.",
                _suggest(transport, TRANSPORTS),
            )
        )
    if is_stateless() and transport in TRANSPORTS and transport != "qstash":
        problem, way_out = str(NeedsLog(f"The {transport} transport")).split(": ", 1)
        found.append(error("E003", f"{problem}.", f"Set DJANGO_HOOKFLOW_TRANSPORT to qstash, or {way_out}."))
    return found


def check_required(**kwargs: Any) -> list[CheckMessage]:
    """W001: what the transport cannot go without is there."""
    from_console = "Copy it from the QStash console."
    own_key = "Set it to a long random string: the relay signs messages with it and the webhook verifies them."
    origin = f"Set it to the {SETTINGS['DJANGO_HOOKFLOW_DOMAIN'].meaning}."
    key = from_console if transport_name() == "qstash" else own_key
    return [
        warning("W001", f"{name} is not configured.", origin if name == "DJANGO_HOOKFLOW_DOMAIN" else key)
        for name in _missing_settings()
    ]


def check_required_for_deployment(**kwargs: Any) -> list[CheckMessage]:
    """E010: the same with ``--deploy``, where it is no longer a matter of a build without keys."""
    missing = _missing_settings()
    if not missing:
        return []
    return [
        error(
            "E010",
            f"The {transport_name()} transport is incomplete: {', '.join(missing)} not configured.",
            "Set the missing settings, or choose another transport with DJANGO_HOOKFLOW_TRANSPORT.",
        )
    ]


def check_checkpoint_keys(**kwargs: Any) -> list[CheckMessage]:
    """E008: the algorithm of checkpoints is known and installed, and a secret is long enough."""
    if any(SETTINGS[name].find_fault(SETTINGS[name].read()) for name in SETTINGS if "_CHECKPOINT_" in name):
        return []  # E001 reports it
    return [
        error("E008", f"{fault.setting} {fault.fault}.", f"{fault.remedy[0].upper()}{fault.remedy[1:]}.")
        for fault in signing.find_faults()
    ]


def check_wrappers(**kwargs: Any) -> list[CheckMessage]:
    """E012: what is to be put around work is there."""
    setting = SETTINGS[wrappers.SETTING]
    paths = setting.read()
    found: list[CheckMessage] = []
    for path in () if setting.find_fault(paths) else paths:  # E001 reports that
        try:
            wrappers.load(path)
        except InvalidSetting as fault:
            found.append(
                error("E012", f"{setting.name} {fault.fault}.", f"{fault.remedy[0].upper()}{fault.remedy[1:]}.")
            )
    return found


def transport_name() -> str:
    """The transport in the settings, or the one that is taken without."""
    return read_text("DJANGO_HOOKFLOW_TRANSPORT") or "qstash"


def read_text(name: str) -> str:
    """A setting's text; "" for a value of another type, which E001 reports."""
    value = SETTINGS[name].read()
    return value if isinstance(value, str) else ""


def _missing_settings() -> list[str]:
    transport = transport_name()
    return [
        name for name, setting in SETTINGS.items() if transport in setting.required_by and setting.read() in (None, "")
    ]


def _suggest(name: str, real_names: Collection[str]) -> str:
    # Without the prefix, which says nothing and makes long names resemble each other.
    real = {name.removeprefix(PREFIX): name for name in real_names}
    nearest = difflib.get_close_matches(name.removeprefix(PREFIX), real, n=1, cutoff=0.6)
    return f"Did you mean {real[nearest[0]]}?" if nearest else f"Known settings: {', '.join(real_names)}."
