"""The keys in the settings against those a server in QStash's place tells."""

from __future__ import annotations

from typing import Any

import pytest

from tests.delivery.servers import Answer, Hang, Server
from tests.doctor.conftest import CURRENT, NEXT, keys
from tests.doctor.diagnosis import diagnose

OTHER = "sig_something_else_altogether"


def test_the_question_as_qstash_wants_it(qstash: Server, settings: Any) -> None:
    settings.QSTASH_URL = f"{qstash.url}/v2/publish/"  # as people paste it
    found = diagnose("keys")
    assert (found.exit_code, found.codes) == (0, {"keys.match": "ok"})
    (request,) = qstash.received
    assert (request.method, request.path) == ("GET", "/v2/keys")
    assert request.headers["Authorization"] == f"Bearer {settings.QSTASH_TOKEN}"


@pytest.mark.parametrize(
    ("real", "code", "level"),
    [
        ((NEXT, OTHER), "keys.rotated", "warning"),
        ((OTHER, "sig_third"), "keys.foreign", "error"),
        ((OTHER, CURRENT), "keys.foreign", "error"),
        ((CURRENT, OTHER), "keys.next_unknown", "warning"),
        ((NEXT, CURRENT), "keys.swapped", "warning"),
    ],
)
def test_other_keys(qstash: Server, real: tuple[str, str], code: str, level: str) -> None:
    qstash.otherwise = keys(*real)
    found = diagnose("keys")
    assert found.codes == {code: level}
    assert found.exit_code == (level == "error")
    assert found.way_out(code).startswith("Copy QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY")


@pytest.mark.parametrize(
    ("answer", "code", "level"),
    [
        (Answer(401, b'{"error":"invalid token"}'), "keys.token_refused", "error"),
        (Answer(429, b"{}"), "keys.busy", "warning"),
        (Answer(503, b"later"), "keys.busy", "warning"),
        (Answer(404, b"<html>"), "keys.no_qstash", "error"),
        (Answer(302, b"", {"Location": "https://elsewhere.example/"}), "keys.no_qstash", "error"),
        (Answer(200, b"<html>hello"), "keys.no_qstash", "error"),
        (Answer(200, b'{"current": 1}'), "keys.no_qstash", "error"),
        (Answer(200, b"[]"), "keys.no_qstash", "error"),
    ],
)
def test_other_answers(qstash: Server, answer: Answer, code: str, level: str) -> None:
    qstash.otherwise = answer
    found = diagnose("keys")
    assert found.codes == {code: level}
    assert found.way_out(code)
    assert len(qstash.received) == 1


def test_nobody_listens(qstash: Server, nowhere: str, settings: Any) -> None:
    settings.QSTASH_URL = nowhere
    found = diagnose("keys")
    assert (found.exit_code, found.codes) == (0, {"keys.unreachable": "warning"})
    assert found.seen("keys.unreachable") == (
        "Could not fetch the signing keys from QStash: 127.0.0.1 refused the connection."
    )


def test_a_url_that_is_none(qstash: Server, settings: Any) -> None:
    settings.QSTASH_URL = "qstash"
    codes = diagnose("keys", "settings").codes
    assert (codes["django_hookflow.E007"], codes["keys.unreachable"]) == ("error", "warning")


def test_nobody_answers(qstash: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_hookflow.doctor.wire.TIMEOUT_SECONDS", 0.1)
    qstash.otherwise = Hang()
    assert "did not answer within 0.1 s" in diagnose("keys").seen("keys.unreachable")


def test_without_a_token(qstash: Server, settings: Any) -> None:
    settings.QSTASH_TOKEN = ""
    assert diagnose("keys").codes == {"keys.no_token": "error"}
    assert qstash.received == []


def test_another_transport_has_keys_of_its_own(qstash: Server, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "http"
    assert diagnose("keys").codes == {"keys.own": "ok"}
    assert qstash.received == []


def test_a_setting_that_cannot_be_read(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"
    settings.QSTASH_TOKEN = 5
    found = diagnose("keys")
    assert found.codes == {"keys.misconfigured": "error"}
    assert "QSTASH_TOKEN is of type int" in found.seen("keys.misconfigured")


def test_what_is_signed_here_is_accepted_here(settings: Any) -> None:
    assert diagnose("signature").codes == {"signature.accepted": "ok"}
    settings.QSTASH_CURRENT_SIGNING_KEY = None
    assert diagnose("signature").codes == {"signature.accepted": "ok", "signature.no_key": "info"}
    settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"
    assert diagnose("signature").codes == {"signature.none": "ok"}
