"""The public address: our webhook on a real server, and everything that may stand there in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.servers import Answer, Hang, Server
from tests.doctor.diagnosis import diagnose, run_process

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_webhook_answers(live_server: Any, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = live_server.url
    found = diagnose("address")
    assert (found.exit_code, found.codes) == (0, {"address.answers": "ok", "address.accepts": "ok"})
    assert f"{live_server.url}/hookflow/workflow/hookflow.doctor/" in found.seen("address.answers")


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"DJANGO_HOOKFLOW_WEBHOOK_PATH": "/elsewhere/"}, "address.not_found", "answered 404"),
        ({"ALLOWED_HOSTS": ["shop.example.com"]}, "address.foreign", "answered 400"),
        ({"ROOT_URLCONF": "tests.doctor.no_such_urls"}, "address.failing", "answered 500"),
        (
            {"QSTASH_CURRENT_SIGNING_KEY": None, "QSTASH_NEXT_SIGNING_KEY": None},
            "address.no_keys",
            "has no key to verify signatures with",
        ),
    ],
)
def test_a_project_that_is_not_set_up(
    live_server: Any, settings: Any, change: dict[str, Any], code: str, told: str
) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = live_server.url
    for name, value in change.items():
        setattr(settings, name, value)
    found = diagnose("address")
    assert (found.exit_code, found.codes) == (1, {code: "error"})
    assert told in found.seen(code)


def test_a_web_process_with_other_keys(live_server: Any, process_environment: dict[str, str], tmp_path: Path) -> None:
    """The doctor runs in a process that has them; the webhook is this one's."""
    change = f"QSTASH_CURRENT_SIGNING_KEY = 'sig_' + 'x' * 40; DJANGO_HOOKFLOW_DOMAIN = {live_server.url!r}"
    done = run_process("--json", "--only", "address", folder=tmp_path, environment=process_environment, settings=change)
    told = json.loads(done.stdout)
    assert (done.returncode, [f["code"] for f in told["findings"]]) == (1, ["address.answers", "address.other_keys"])


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(200, b"<html>parked"), "address.foreign"),
        (Answer(401, b"log in first"), "address.foreign"),
        (Answer(401, b'{"error": "who are you"}'), "address.foreign"),
        (Answer(403, b"forbidden"), "address.foreign"),
        (Answer(404, b'{"error": "no route"}'), "address.not_found"),
        (Answer(502, b"bad gateway"), "address.failing"),
        (Answer(308, b"", {"Location": "https://u:p@www.example.com/?token=1"}), "address.redirect"),
    ],
)
def test_somebody_else_answers(server: Server, settings: Any, answer: Answer, code: str) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = server.url
    server.otherwise = answer
    found = diagnose("address")
    assert (found.exit_code, found.codes) == (1, {code: "error"})
    (request,) = server.received  # and nothing that is signed is sent there
    assert request.headers["Upstash-Signature"] == "hookflow-doctor"
    assert "token=1" not in found.text
    assert "u:p@" not in found.text


def test_the_webhook_is_unwell(server: Server, settings: Any) -> None:
    """It knows what a signature is, and then fails."""
    settings.DJANGO_HOOKFLOW_DOMAIN = server.url
    server.answers.extend([Answer(401, b'{"error": "signature refused: DecodeError"}'), Answer(500, b"oops")])
    assert diagnose("address").codes == {"address.answers": "ok", "address.unwell": "warning"}


@pytest.mark.parametrize(
    ("domain", "code", "told"),
    [
        ("https://no-such-host.invalid", "address.dns", "no-such-host.invalid could not be resolved"),
        ("{nowhere}", "address.refused", "127.0.0.1 refused the connection"),
        ("{https}", "address.tls", "the TLS handshake with 127.0.0.1 failed"),
    ],
)
def test_nobody_answers(server: Server, nowhere: str, settings: Any, domain: str, code: str, told: str) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = domain.format(nowhere=nowhere, https=server.url.replace("http:", "https:"))
    found = diagnose("address")
    assert found.codes == {code: "error"}
    assert told in found.seen(code)


def test_an_answer_that_does_not_come(server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_hookflow.doctor.wire.TIMEOUT_SECONDS", 0.1)
    settings.DJANGO_HOOKFLOW_DOMAIN = server.url
    server.otherwise = Hang()
    assert diagnose("address").codes == {"address.timeout": "error"}


def test_an_address_that_only_this_network_has(server: Server, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"
    del settings.QSTASH_URL  # the public one
    settings.DJANGO_HOOKFLOW_DOMAIN = server.url
    assert diagnose("address").codes == {"address.private": "warning", "address.foreign": "error"}


def test_no_address(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = None
    found = diagnose("address")
    assert found.codes == {"address.misconfigured": "error"}
    assert "DJANGO_HOOKFLOW_DOMAIN is not configured" in found.seen("address.misconfigured")
    settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"
    assert diagnose("address").codes == {"address.none": "ok"}
