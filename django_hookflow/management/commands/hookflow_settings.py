"""``manage.py hookflow_settings``: every setting, whether it is required, its default and its value, secrets masked."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from django_hookflow.conf import SETTINGS, Setting

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

WIDTH = 80
#: A secret at least so long shows its last characters, which set it apart from another.
LONG_SECRET, SHOWN = 16, 4


class Command(BaseCommand):
    help = "Lists all django-hookflow settings with their defaults and current values. Secrets are masked."
    # It is what one looks at when a check fails, so no check may keep it from running.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the settings as a JSON array")

    def handle(self, *args: Any, **options: Any) -> None:
        described = [describe(setting) for setting in SETTINGS.values()]
        if options["json"]:
            self.stdout.write(json.dumps(described, indent=2, ensure_ascii=False))
        else:
            self.stdout.write("\n\n".join(render(entry) for entry in described))


def describe(setting: Setting) -> dict[str, Any]:
    """A setting as ``--json`` prints it. ``fault`` is "" or what is wrong with the value."""
    value = setting.read()
    return {
        "name": setting.name,
        "meaning": setting.meaning,
        "required": setting.required,
        "required_by": list(setting.required_by),
        "default": setting.default,
        "value": mask(setting, value),
        "is_default": value == setting.default,
        "secret": setting.secret,
        "fault": setting.find_fault(value),
    }


def mask(setting: Setting, value: Any) -> Any:
    """A value fit to be shown: of a secret at most the last four characters, of a URL not its password."""
    if value is None or value == "":
        return value
    if setting.secret:
        is_long = isinstance(value, str) and len(value) >= LONG_SECRET
        return f"…{value[-SHOWN:]}" if is_long else "(set, not shown)"
    if isinstance(value, str):
        return re.sub(r"//[^/@]*@", "//…@", value)
    return value if isinstance(value, (bool, int, float)) else repr(value)


def render(entry: dict[str, Any]) -> str:
    """The few lines that a person reads, none wider than a terminal."""
    required = f"required by {' and '.join(entry['required_by'])}" if entry["required_by"] else "not required"
    lines = [
        f"{entry['name']}  ({required})",
        *wrap("", entry["meaning"]),
        *wrap("default: ", show(entry["default"])),
        *wrap("value:   ", show(entry["value"])),
    ]
    if entry["fault"]:
        lines += wrap("invalid: ", f"the value {entry['fault']}; run manage.py check for details")
    return "\n".join(lines)


def show(value: Any) -> str:
    if value is None:
        return "none"
    return '"" (treated as not set)' if value == "" else str(value)


def wrap(label: str, text: str) -> list[str]:
    indent = " " * (4 + len(label))
    return textwrap.wrap(text, WIDTH, initial_indent=f"    {label}", subsequent_indent=indent, break_on_hyphens=False)
