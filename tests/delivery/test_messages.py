from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.delivery.messages import DEADLINE, TURN, BadMessage, Message, Received, parse_body, webhook_url
from django_hookflow.exceptions import NotConfigured

if TYPE_CHECKING:
    from pytest_django import Settings

UID = uuid.UUID("01936c0e-7c00-7000-8000-000000000001")


def make_message(**changes: object) -> Message:
    fields = {"workflow_id": "shop.orders.process", "run_id": "order-1", "seq": 1, "run_uid": UID, "attempt": 1}
    return Message(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_body_is_compact_json_that_parses_back() -> None:
    message = make_message(run_id="commande-é")

    assert message.body() == '{"workflow_id":"shop.orders.process","run_id":"commande-é","seq":1}'.encode()
    assert parse_body(message.body()) == Received(TURN, "shop.orders.process", "commande-é", 1)


def test_another_kind_than_a_turn_is_named_in_the_body() -> None:
    message = Message("shop.orders.process", "order-1", 1, UID, 1, 60.0, DEADLINE)

    assert parse_body(message.body()) == Received(DEADLINE, "shop.orders.process", "order-1", 1)
    assert message.deduplication_id == f"{UID}-1-1-deadline"


def test_the_body_of_a_late_turn_is_as_small_as_that_of_the_first() -> None:
    longest = {"workflow_id": "w" * 200, "run_id": "r" * 200}

    assert len(make_message(**longest, seq=1).body()) < 512
    assert len(make_message(**longest, seq=1_000_000).body()) < 512


@pytest.mark.parametrize("domain", ["https://my-app.com", "https://my-app.com/"])
@pytest.mark.parametrize(
    ("mount", "url"),
    [
        ("/hookflow/", "https://my-app.com/hookflow/workflow/shop.process/"),
        ("hookflow", "https://my-app.com/hookflow/workflow/shop.process/"),
        ("/", "https://my-app.com/workflow/shop.process/"),
    ],
)
def test_the_url_is_the_domain_the_mount_and_the_workflow(
    settings: Settings, domain: str, mount: str, url: str
) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = domain
    settings.DJANGO_HOOKFLOW_WEBHOOK_PATH = mount

    assert make_message(workflow_id="shop.process").url() == url


def test_the_url_is_escaped_as_django_escapes_the_path_of_the_request(settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = "http://testserver"
    workflow_id = "a-b.c_d~e!f$g&h'i(j)k*l+m,n;o=p:q@r"

    request = RequestFactory().post(f"/hookflow/workflow/{workflow_id}/")

    assert webhook_url(workflow_id) == request.build_absolute_uri()


def test_without_a_domain_there_is_no_url(settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = None

    with pytest.raises(NotConfigured, match="DJANGO_HOOKFLOW_DOMAIN is not configured"):
        make_message().url()


def test_the_deduplication_id_names_the_publication() -> None:
    assert make_message(seq=7, attempt=2).deduplication_id == f"{UID}-7-2"


GOOD = {"workflow_id": "w", "run_id": "r", "seq": 1}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "malformed JSON"),
        (b"{", "malformed JSON"),
        (b"\xff\xfe", "malformed JSON"),
        (b"[" * 100_000, "malformed JSON"),
        (b'{"seq":' + b"9" * 10_000 + b"}", "malformed JSON"),
        (b"[]", "a JSON list, not an object"),
        (b"null", "a JSON NoneType, not an object"),
        (json.dumps({**GOOD, "seq": "1"}).encode(), "seq is not an integer"),
        (json.dumps({**GOOD, "seq": True}).encode(), "seq is not an integer"),
        (json.dumps({**GOOD, "seq": 1.0}).encode(), "seq is not an integer"),
        (json.dumps({**GOOD, "seq": -1}).encode(), "seq is not an integer"),
        (json.dumps({**GOOD, "seq": 2**31}).encode(), "seq is not an integer"),
        (json.dumps({**GOOD, "run_id": None}).encode(), "run_id is not a non-empty string"),
        (json.dumps({**GOOD, "run_id": ""}).encode(), "run_id is not a non-empty string"),
        (json.dumps({**GOOD, "run_id": "a\x00b"}).encode(), "run_id holds characters"),
        (b'{"workflow_id":"w","run_id":"\\ud800","seq":1}', "run_id holds characters"),
        (b'{"run_id":"r","seq":1}', "workflow_id is missing"),
        (b'{"workflow_id":"w","run_id":"r"}', "seq is missing"),
    ],
)
def test_a_body_that_is_no_message_is_refused_with_the_reason(raw: bytes, problem: str) -> None:
    with pytest.raises(BadMessage, match=problem):
        parse_body(raw)


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_parsing_raises_nothing_but_bad_message(raw: bytes) -> None:
    with pytest.raises(BadMessage):
        parse_body(raw)
