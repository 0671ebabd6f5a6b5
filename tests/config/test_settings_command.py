"""manage.py hookflow_settings, by running it."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_hookflow.conf import SETTINGS
from django_hookflow.management.commands.hookflow_settings import Command

LONG_SECRET = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("hookflow_settings", *arguments, stdout=out)
    return out.getvalue()


def read(name: str) -> dict[str, Any]:
    (entry,) = [entry for entry in json.loads(run("--json")) if entry["name"] == name]
    assert isinstance(entry, dict)
    return entry


def test_every_setting_is_printed_once_in_the_order_of_the_list() -> None:
    heads = [line.split("  (")[0] for line in run().splitlines() if line and not line.startswith(" ")]

    assert heads == list(SETTINGS)
    assert [entry["name"] for entry in json.loads(run("--json"))] == list(SETTINGS)


@override_settings(QSTASH_CURRENT_SIGNING_KEY=LONG_SECRET, DJANGO_HOOKFLOW_TURN_BUDGET=3)
def test_an_entry_tells_need_meaning_default_and_value() -> None:
    output = run()

    assert (
        "QSTASH_CURRENT_SIGNING_KEY  (required by qstash and http)\n"
        "    verifies the signature of deliveries\n"
        "    default: none\n"
        "    value:   …RJ6r\n"
    ) in output
    assert (
        "DJANGO_HOOKFLOW_TURN_BUDGET  (not required)\n    seconds after which a turn starts no more steps\n    "
        "default: 10\n    value:   3\n"
    ) in output


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.secret])
@pytest.mark.parametrize(
    "secret", [LONG_SECRET, "short", "fifteen-letters", b"bytes-of-a-secret-key", ["in", "a", "list"]]
)
def test_no_secret_is_shown(name: str, secret: Any) -> None:
    with override_settings(**{name: secret}):
        shown = read(name)["value"]
        output = run() + run("--json")

    assert shown == ("…RJ6r" if secret is LONG_SECRET else "(set, not shown)")
    assert str(secret) not in output


@override_settings(QSTASH_URL="https://me:letmein@qstash.example.com/")
def test_a_password_in_a_url_is_not_shown() -> None:
    assert read("QSTASH_URL")["value"] == "https://…@qstash.example.com/"


@override_settings(DJANGO_HOOKFLOW_DOMAIN="https://" + "very-long-name." * 20 + "com")
def test_nothing_is_wider_than_a_terminal() -> None:
    assert max(len(line) for line in run().splitlines()) <= 80


@override_settings(DJANGO_HOOKFLOW_LEASE_SECONDS="60", QSTASH_TOKEN="")
def test_a_wrong_value_is_shown_as_wrong_and_an_empty_one_as_none() -> None:
    output = run()

    assert "    value:   60\n    invalid: the value is of type str; run manage.py check for details\n" in output
    assert '    value:   "" (treated as not set)\n' in output


@override_settings(DJANGO_HOOKFLOW_TRANSPORT="nonsense", DJANGO_HOOKFLOW_PERSISTENCE_ENABLED=False)
def test_failing_checks_do_not_keep_it_from_running(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError):
        call_command("check", stderr=StringIO())

    Command().run_from_argv(["manage.py", "hookflow_settings"])

    assert "    value:   nonsense\n" in capsys.readouterr().out


@override_settings(DJANGO_HOOKFLOW_STEPS_PER_TURN=1)
def test_json_is_for_programs() -> None:
    assert read("DJANGO_HOOKFLOW_STEPS_PER_TURN") == {
        "name": "DJANGO_HOOKFLOW_STEPS_PER_TURN",
        "meaning": "maximum number of new steps in a turn; 1 means one delivery per step",
        "required": False,
        "required_by": [],
        "default": None,
        "value": 1,
        "is_default": False,
        "secret": False,
        "fault": "",
    }
