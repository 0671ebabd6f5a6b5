"""Who did what when and why, over all runs."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection

from django_hookflow.admin import activity
from django_hookflow.events.types import CATALOGUE, RUN_TRIGGERED
from django_hookflow.models import WorkflowEvent
from tests.admin import history
from tests.admin.conftest import RUNS, count_queries
from tests.admin.page import Element, parse
from tests.admin.test_list_scale import nodes_of
from tests.log.calls import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

pytestmark = pytest.mark.django_db

ACTIVITY = f"{RUNS}activity/"


def shown(client: Client, **query: str) -> list[list[str]]:
    """Who, what, the run and why, of each act of a page."""
    page = parse(client.get(ACTIVITY, query))
    return [row[1:] for row in page.rows()] if page.all("tbody") else []


def older(page: Element) -> dict[str, str]:
    (link,) = page.all("a", rel="next")
    return {name: values[0] for name, values in parse_qs(urlsplit(link.attributes["href"]).query).items()}


def test_everything_that_somebody_can_do_has_a_word() -> None:
    assert set(activity.WORDS) == {each.name for each in CATALOGUE.values() if each.is_act} | {RUN_TRIGGERED}


def test_who_did_what_to_which_run_and_why(superuser: Client) -> None:
    run = history.start("order-1", actor="grace")
    silent = history.start("order-2")
    history.add_steps(run, 3)
    history.add(run, "run.paused", actor="ada", reason="looking <b>")
    history.add(run, "step.resolved", "charge", actor="ada", reason="it was paid")
    history.add(silent, "run.cancelled", reason="by code")
    history.add(run, "step.superseded", "validate", actor="ada")  # which follows from what somebody did
    history.add(silent, "signal.received", actor="bob", name="approval", value={"secret": 1})

    assert shown(superuser) == [
        ["bob", "Sent a signal approval", "order-2 shop.process", ""],
        ["–", "Cancelled", "order-2 shop.process", "by code"],
        ["ada", "Resolved charge", "order-1 shop.process", "it was paid"],
        ["ada", "Paused", "order-1 shop.process", "looking <b>"],
        ["grace", "Started", "order-1 shop.process", ""],
    ]
    assert [row[1] for row in shown(superuser, who="ada")] == ["Resolved charge", "Paused"]
    assert [row[0] for row in shown(superuser, what="run.triggered")] == ["grace"]
    assert shown(superuser, who="ada", what="run.cancelled") == []
    assert shown(superuser, who="nobody") == []


@pytest.mark.parametrize("who", ["ada\nSELECT 1", "ada\n) SELECT 1 --", "x\n'; SELECT 1; --", "%s %(who)s", "{acts}"])
def test_a_name_is_a_value_whatever_is_in_it(superuser: Client, who: str) -> None:
    run = history.start("order-1", actor="grace")
    history.add(run, "run.paused", actor=who, reason="looking")

    assert [row[0] for row in shown(superuser, who=who)] == [" ".join(who.split())]


def test_by_time_and_a_page_after_the_other(superuser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "PAGE", 3)
    run = history.start("order-1")
    for n in range(7):  # in one transaction, so at one moment
        history.add(run, "run.noted", actor="ada", reason=str(n))
    query: dict[str, str] = {"who": "ada"}
    reasons = []
    for _ in range(3):
        page = parse(superuser.get(ACTIVITY, query))
        reasons += [row[-1] for row in page.rows()]
        query = older(page) if page.all("a", rel="next") else {}
    assert reasons == ["6", "5", "4", "3", "2", "1", "0"]

    at = WorkflowEvent.objects.order_by("-position")[0].recorded_at
    later, earlier = ((at + datetime.timedelta(days=days)).isoformat() for days in (1, -1))
    assert shown(superuser, since=later) == []
    assert shown(superuser, until=earlier) == []
    assert len(shown(superuser, since=earlier, until=later)) == 3


def test_of_one_kind_it_looks_so_far_back_and_offers_to_go_on(
    superuser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "LOOKED_AT", 4)
    run = history.start("order-1")
    history.add(run, "run.paused", actor="ada", reason="the one")
    for _ in range(5):
        history.add(run, "run.noted", actor="ada", reason="…")

    page = parse(superuser.get(ACTIVITY, {"what": "run.paused"}))

    assert "None of the latest 4 actions match." in page.text
    assert [row[-1] for row in shown(superuser, **older(page))] == ["the one"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"since": "yesterday"}, "“yesterday” is not a date or time"),
        ({"until": "2026-13-01"}, "“2026-13-01” is not a date or time"),
        ({"what": "run.completed"}, "“run.completed” is not a known action"),
        ({"who": "a\0b"}, "A name cannot contain a NUL character"),
        ({"before": "2026-01-01T00:00:00/x"}, "This link is not valid"),
        ({"before": "x/1"}, "“x” is not a date or time"),
    ],
)
def test_what_is_not_understood_is_said_and_nothing_is_shown(
    superuser: Client, query: dict[str, str], words: str
) -> None:
    history.start("order-1", actor="ada")
    answer = superuser.get(ACTIVITY, query)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert "order-1" not in answer.content.decode()


def test_it_takes_the_permission_to_see_runs(staff: Callable[..., Client]) -> None:
    history.start("order-1", actor="ada")
    client = staff("view_deadletterentry")
    assert client.get(ACTIVITY).status_code == 403


def test_who_did_something_is_a_link_on_the_page_of_a_run(superuser: Client) -> None:
    run = history.start("order-1", actor="ada & co")
    history.add(run, "run.paused", actor="ada & co", reason="…")
    page = parse(superuser.get(f"{RUNS}{run}/change/"))

    links = [a for a in page.all("a") if a.text == "ada & co"]

    assert [a.attributes["href"] for a in links] == [f"{ACTIVITY}?who=ada%20%26%20co"] * 4
    assert len(shown(superuser, who="ada & co")) == 2


def test_redacted_reasons_are_gone(superuser: Client) -> None:
    run = history.start("order-1")
    history.add(run, "run.paused", actor="ada", reason="a name")
    history.add(run, "run.cancelled", actor="ada", reason="another")
    with connection.cursor() as cursor:
        cursor.execute("SELECT hookflow_redact(%s, 2, NULL, 'ada', 'asked to')", [run])
    assert "a name" not in str(shown(superuser))


def acts_among(many: int) -> None:
    """So many events of steps, and a thousandth of it acts of ten people."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_hookflow_event (recorded_at, run_uid, seq, type, step_id, actor, facts, hash) "
            "SELECT now() - (%(many)s - n) * interval '1 s', '00000000-0000-7000-8000-000000000001', n, "
            "CASE WHEN n %% 1000 = 0 THEN 'run.noted' ELSE 'step.retried' END, CASE WHEN n %% 1000 > 0 THEN 's' END, "
            "CASE WHEN n %% 1000 = 0 THEN 'person ' || n / 1000 %% 10 END, '{}', sha256('x') "
            "FROM generate_series(2, %(many)s) AS n",
            {"many": many},
        )
        cursor.execute("ANALYZE django_hookflow_event")


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"who": "person 3"},
    {"who": "nobody"},
    {"what": "run.cancelled"},
    {"who": "person 3", "what": "run.noted", "since": "2000-01-01"},
    {"since": "2000-01-01", "until": "2001-01-01"},
    {"before": "2100-01-01T00:00:00/9"},
]


def test_no_question_reads_what_is_no_act(superuser: Client) -> None:
    acts_among(200_000)
    for question in QUESTIONS:
        with count_queries() as statements:
            superuser.get(ACTIVITY, question)
        (statement,) = [s for s in statements if "django_hookflow_event" in s]
        (row,) = ask(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        plan = row["QUERY PLAN"]
        nodes = nodes_of((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
        of_acts = [node for node in nodes if node["Node Type"].endswith("Scan") and "_event" in json.dumps(node)]
        assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], question
        assert max(node.get("Rows Removed by Filter", 0) for node in of_acts) <= 200, question
