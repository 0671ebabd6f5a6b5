"""The event log on a run's page: windows, filters, links to single events, the past, and the download."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.db.models import QuerySet

from django_hookflow.admin.run_page.download import EVENTS_PER_SLICE
from django_hookflow.admin.run_page.event_log import EVENTS_PER_PAGE
from django_hookflow.models import WorkflowEvent, WorkflowRun
from tests.admin.conftest import RUNS
from tests.admin.history import add, add_steps, complete, fail, sleep, start
from tests.admin.page import Element, facts, log_of, parse, section, status

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.test import Client


def open_run(client: Client, run: UUID, query: str = "") -> Element:
    return parse(client.get(f"{RUNS}{run}/change/{query}"))


def seqs(page: Element) -> list[int]:
    return [int(line.split()[0].removeprefix("#")) for line in log_of(page)]


def link(page: Element, rel: str) -> str:
    """Where the log's link to its neighbour leads, without the fragment; "" if there is none."""
    found = section(page, "events").all("a", rel=rel)
    return found[0].attributes["href"].removesuffix("#events") if found else ""


def download(client: Client, run: UUID, query: str = "") -> dict[str, Any]:
    response = client.get(f"{RUNS}{run}/events.json{query}")
    assert response.status_code == 200
    document: dict[str, Any] = json.loads(b"".join(response.streaming_content))  # type: ignore[attr-defined]
    return document


def test_events_stand_in_order_with_actor_payload_and_hash(superuser: Client) -> None:
    run = start(actor="alice", data={"b": 1, "a": 1.50})
    add(run, "run.cancelled", actor="bob", reason="wrong order")

    events = section(open_run(superuser, run), "events")

    assert events.one("h2").text == "Events (2), times in UTC"
    assert log_of(open_run(superuser, run)) == ["#1 run.triggered by alice", "#2 run.cancelled by bob"]
    second = events.one("li", id="e2")
    assert second.one("pre").text == '{"reason": "wrong order"}'
    facts = json.loads(events.one("li", id="e1").all("pre")[0].text)
    assert facts == {"run_id": "order-1", "workflow": "shop.process"}
    stored = WorkflowEvent.objects.get(workflow_run=run, seq=2)
    assert bytes(stored.hash).hex() in second.text


def test_a_long_payload_is_folded_and_indented(superuser: Client) -> None:
    run = start(data={"lines": [{"article": f"article-{n}", "amount": n} for n in range(5)]})

    details = section(open_run(superuser, run), "events").one("details")

    facts, payload = (json.loads(shown.raw_text) for shown in details.all("pre"))
    assert "open" not in details.attributes
    assert payload["data"]["lines"][4] == {"article": "article-4", "amount": 4}
    assert details.all("pre")[1].raw_text.startswith('{\n  "data"')
    assert facts["run_id"] == "order-1"


def test_a_long_log_is_shown_window_by_window_from_its_end(superuser: Client) -> None:
    run = start()
    add_steps(run, 150)

    last = open_run(superuser, run)
    middle = open_run(superuser, run, link(last, "prev"))
    again = open_run(superuser, run, link(middle, "next"))

    assert seqs(last) == list(range(102, 152))
    assert link(last, "next") == ""
    assert seqs(middle) == list(range(52, 102))
    assert seqs(again) == seqs(last)
    first = open_run(superuser, run, link(open_run(superuser, run, link(middle, "prev")), "prev"))
    assert (seqs(first), link(first, "prev")) == ([1], "")


def test_a_link_to_an_event_opens_it_among_its_neighbours(superuser: Client) -> None:
    run = start()
    add_steps(run, 150)

    page = open_run(superuser, run, "?seq=57#e57")

    assert 57 in seqs(page)
    assert len(seqs(page)) == EVENTS_PER_PAGE
    assert [e.attributes["data-key"] for e in section(page, "events").all("details") if "open" in e.attributes] == [
        "e57"
    ]
    (permalink,) = [a for a in section(page, "events").all("a") if a.text == "Link to #57"]
    assert permalink.attributes["href"] == "?seq=57#e57"


def test_events_are_filtered_by_type_and_step(superuser: Client) -> None:
    run = start()
    add_steps(run, 120)
    fail(run, step_id="step-7")

    assert log_of(open_run(superuser, run, "?step=step-7")) == ["#9 step.completed step-7", "#123 run.failed step-7"]
    assert log_of(open_run(superuser, run, "?type=turn.")) == ["#122 turn.started"]
    assert log_of(open_run(superuser, run, "?type=step.failed")) == []
    steps = open_run(superuser, run, "?type=step.")
    assert seqs(steps) == list(range(72, 122))
    assert seqs(open_run(superuser, run, link(steps, "prev"))) == list(range(22, 72))


def test_a_redacted_event_says_so_and_shows_what_was_kept(superuser: Client) -> None:
    run = start(data={"iban": "DE89 3704", "order": 7})
    complete(run)
    stored = WorkflowRun.objects.get(pk=run)
    stored.redact("data.iban", reason="asked for", actor="ada")

    page = open_run(superuser, run)

    first = section(page, "events").one("li", id="e1")
    assert log_of(page)[0] == "#1 run.triggered redacted"
    assert "what remains:" in first.text
    assert '"order"' in first.text


def test_events_of_a_superseded_branch_are_marked(superuser: Client) -> None:
    run = start()
    add(run, "turn.started", worker="w")
    add(run, "step.completed", "validate", kind="run", attempt=1, result=1)
    add(run, "run.rewound", "validate", actor="ada", reason="again")
    add(run, "step.superseded", "validate")
    add(run, "turn.started", worker="w")
    add(run, "step.completed", "validate", kind="run", attempt=1, result=2)

    page = open_run(superuser, run)

    marked = [e.attributes["id"] for e in section(page, "events").all("li") if "is-superseded" in e.attributes["class"]]
    assert marked == ["e3"]
    states = [(row[2], row[-1]) for row in section(page, "steps").rows()]
    assert states == [("superseded", "1"), ("completed", "2")]


def test_of_a_wait_the_log_shows_the_kind(superuser: Client) -> None:
    run = start()
    sleep(run)

    assert log_of(open_run(superuser, run))[-1] == "#3 step.suspended wait sleep"


def test_the_run_as_of_an_event_is_what_was_known_then(superuser: Client) -> None:
    run = start(data={"order": 7})
    add(run, "turn.started", worker="w")
    add(run, "step.completed", "validate", kind="run", attempt=1, result=1)
    add(run, "run.completed", result="fine")

    then = open_run(superuser, run, "?as_of=2")

    assert status(then) == "Running"
    assert "As of event #2 of 4" in then.text
    assert facts(then)["Result"] == "–"
    assert section(then, "steps").text.endswith("No steps yet.")
    assert seqs(then) == [1, 2]
    assert then.one("div", id="hookflow-run").attributes["data-live"] == "no"
    assert [a for a in then.all("a") if a.attributes.get("class") == "hookflow-button"] == []
    assert then.one("input", id="hookflow-as-of").attributes["value"] == "2"


def test_links_and_the_slider_lead_through_the_past(superuser: Client) -> None:
    run = start()
    add_steps(run, 3)

    def steps(page: Element) -> dict[str, str]:
        bar = page.one("nav", **{"aria-label": "The run as it was"})
        return {a.text: a.attributes["href"] for a in bar.all("a")}

    now = open_run(superuser, run, "?scale=linear")
    assert steps(now) == {"« first": "?scale=linear&as_of=1", "‹ earlier": "?scale=linear&as_of=3"}
    then = open_run(superuser, run, "?as_of=2")
    assert steps(then) == {"« first": "?as_of=1", "‹ earlier": "?as_of=1", "later ›": "?as_of=3", "now »": "?"}
    slider = then.one("input", id="hookflow-as-of").attributes
    assert (slider["type"], slider["min"], slider["max"], slider["name"]) == ("range", "1", "4", "as_of")
    assert status(open_run(superuser, run, "?as_of=4")) == status(open_run(superuser, run))


def test_integrity_is_examined_on_demand(superuser: Client) -> None:
    run = start()
    complete(run)

    assert "matches the log" not in open_run(superuser, run).text
    shown = section(open_run(superuser, run, "?integrity=1"), "integrity")
    assert [e.text for e in shown.one("ul").all("li")] == [
        "The projection matches the log at #3",
        "The hash chain verifies: 3 events",
    ]


def test_integrity_names_what_does_not_hold(superuser: Client) -> None:
    run = start("order-1")
    complete(run)
    QuerySet(WorkflowRun).filter(pk=run).update(status="failed")

    shown = section(open_run(superuser, run, "?integrity=1"), "integrity")

    assert "The projection differs from the log at #3" in shown.text
    assert "WorkflowRun of run order-1: changed status" in shown.text


def test_the_download_has_every_event_to_the_letter(superuser: Client) -> None:
    run = start("order-1", data={"b": 1, "a": [1.5, "ä"]})
    add_steps(run, EVENTS_PER_SLICE + 3)

    document = download(superuser, run)

    assert (document["run_id"], document["status"], document["until"]) == ("order-1", "pending", EVENTS_PER_SLICE + 4)
    assert [event["seq"] for event in document["events"]] == list(range(1, EVENTS_PER_SLICE + 5))
    assert document["events"][0]["payload"]["data"] == {"b": 1, "a": [1.5, "ä"]}
    stored = WorkflowEvent.objects.get(workflow_run=run, seq=9)
    assert document["events"][8]["hash"] == bytes(stored.hash).hex()


def test_the_download_of_the_past_ends_there(superuser: Client) -> None:
    run = start()
    add_steps(run, 5)

    assert [event["seq"] for event in download(superuser, run, "?as_of=2")["events"]] == [1, 2]


@pytest.mark.parametrize("query", ["", "?as_of=1"])
def test_a_run_that_there_is_not_cannot_be_downloaded(superuser: Client, query: str) -> None:
    assert superuser.get(f"{RUNS}0198c0de-0000-7000-8000-000000000000/events.json{query}").status_code == 404


def test_the_download_takes_both_permissions(staff: Callable[..., Client]) -> None:
    run = start()
    client = staff("view_payload_workflowrun")

    assert client.get(f"{RUNS}{run}/events.json").status_code == 403
