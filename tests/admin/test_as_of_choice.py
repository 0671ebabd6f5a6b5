"""The page of a run as of an event or a time, and what it answers to what is neither."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from django_hookflow import WorkflowContext, workflow
from django_hookflow.admin.run_page.as_of_choice import MAX_TIMES, read_time, times_of_events
from django_hookflow.models import WorkflowRun
from tests.admin import history
from tests.admin.conftest import RUNS
from tests.admin.page import parse, status

if TYPE_CHECKING:
    from django.test import Client

    from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db

NOON = datetime.datetime(2026, 11, 29, 12, 0, tzinfo=datetime.timezone.utc)
#: As a person in Berlin, an hour ahead of UTC, means it.
READ = {
    "14:03": "2026-11-29T13:03:00",
    "4:03": "2026-11-29T03:03:00",
    "14:03:05.5": "2026-11-29T13:03:05.500000",
    "14:03Z": "2026-11-29T14:03:00",
    "14:03 utc": "2026-11-29T14:03:00",
    "14:03+02:00": "2026-11-29T12:03:00",
    "14:03 02:00": "2026-11-29T12:03:00",
    "14:03-0330": "2026-11-29T17:33:00",
    "14:03 Asia/Tokyo": "2026-11-29T05:03:00",
    "2026-11-28": "2026-11-27T23:00:00",
    "2026-11-28 14:03": "2026-11-28T13:03:00",
    "2026-11-28T14:03:05.123456+01:00": "2026-11-28T13:03:05.123456",
    "2026-07-01T14:03": "2026-07-01T12:03:00",
    "2026-07-01T14:03:00Z": "2026-07-01T14:03:00",
}
NOT_READ = [
    *("x", "noon", "25:00", "14:60", "2026-13-01", "2026-02-30", "0000-01-01", "0001-01-01", "9999-12-31T23:59-12:00"),
    *("14:03 Nowhere/Else", "14:03 ../../etc/passwd", "14:03 /etc/passwd", "14:03\0", "14:03 +99:00", "Z", "+02:00"),
    *("٤:03", "1e9", "-1", "²", "14:03 " + "x" * 500, "14:03 14:03:05", "14:03 pm", "²:03"),
]


@pytest.mark.parametrize(("text", "moment"), READ.items())
def test_times_that_are_understood(text: str, moment: str) -> None:
    with timezone.override("Europe/Berlin"):
        found = read_time(text, NOON)
    assert found is not None
    assert found.replace(tzinfo=None).isoformat() == moment


@pytest.mark.parametrize("text", NOT_READ)
def test_times_that_are_not(text: str) -> None:
    assert read_time(text, NOON) is None


def test_today_is_that_of_the_zone() -> None:
    late = datetime.datetime(2026, 11, 29, 23, 30, tzinfo=datetime.timezone.utc)
    with timezone.override("Europe/Berlin"):
        assert str(read_time("00:10", late)) == "2026-11-29 23:10:00+00:00"
    assert str(read_time("00:10 Europe/Berlin", late)) == "2026-11-29 23:10:00+00:00"


@workflow(workflow_id="tests.as_of")
def sleepy(ctx: WorkflowContext) -> str:
    ctx.step.run("validate", str, "ok")
    ctx.step.sleep("wait", seconds=3600)
    return "done"


@pytest.fixture
def run(hookflow: Hookflow) -> WorkflowRun:
    """Asleep for twenty minutes, then completed for three hours."""
    hookflow.drive(sleepy.trigger(run_id="order-1"))
    hookflow.advance(3 * 3600)
    return WorkflowRun.objects.get(run_id="order-1")


def at(run: WorkflowRun, minutes: float) -> str:
    return (run.created_at + datetime.timedelta(minutes=minutes)).isoformat()


def test_the_run_at_a_time(superuser: Client, run: WorkflowRun) -> None:
    page = parse(superuser.get(f"{RUNS}{run.pk}/change/", {"as_of": at(run, 20)}))

    assert status(page) == "Running"
    assert "wakes in 40 min" in page.one("span", id="hookflow-sentence").text
    moment = timezone.localtime(run.created_at + datetime.timedelta(minutes=20))
    assert f"As of {moment:%Y-%m-%d %H:%M:%S}" in page.text
    assert page.one("input", id="hookflow-at-time").attributes["value"] == at(run, 20)
    after = parse(superuser.get(f"{RUNS}{run.pk}/change/", {"as_of": at(run, 90)}))
    assert status(after) == "Completed"
    assert "As of" in after.text


def test_the_slider_has_the_times_of_events(superuser: Client, run: WorkflowRun) -> None:
    page = parse(superuser.get(f"{RUNS}{run.pk}/change/"))
    times = json.loads(page.one("input", id="hookflow-as-of").attributes["data-times"])
    assert [seq for seq, _ in times] == [event.seq for event in run.events.all()]
    assert times[0][1] in f"{timezone.localtime(run.created_at):%m-%d %H:%M:%S}"
    assert page.one("output", id="hookflow-as-of-seq").text.startswith(f"#{times[-1][0]} ")


def test_of_a_long_run_the_slider_has_some_times_and_the_last() -> None:
    key = history.start("long")
    history.add_steps(key, 1_000)
    times = times_of_events(WorkflowRun.objects.get(pk=key), 1_001)
    assert len(times) <= MAX_TIMES + 1
    assert [times[0][0], times[-1][0]] == [1, 1_001]


PROBLEMS = {
    "x": "“x” is neither an event nor a time",
    "1e9": "neither an event nor a time",
    "-1": "neither an event nor a time",
    "9" * 30: "neither an event nor a time",
    "25:00": "“25:00” is neither an event nor a time",
    "<b>": "“&lt;b&gt;” is neither an event nor a time",
    "0": "There is no event #0: this run has ",
    "999": "There is no event #999: this run has ",
    "2100-01-01": "2100-01-01 00:00:00 UTC is in the future.",
    "2000-01-01": "At 2000-01-01 00:00:00 UTC this run had not started. It started at ",
}


@pytest.mark.parametrize(("asked", "words"), PROBLEMS.items())
def test_what_cannot_be_shown_is_said_and_the_present_is_not_shown(
    superuser: Client, run: WorkflowRun, asked: str, words: str
) -> None:
    for query in ({"as_of": asked}, {"as_of": asked, "fragment": "1"}):
        answer = superuser.get(f"{RUNS}{run.pk}/change/", query)
        assert words in answer.content.decode()
        assert "Completed in" not in answer.content.decode()
    assert superuser.get(f"{RUNS}{run.pk}/change/", {"as_of": asked}).status_code == 400
    assert superuser.get(f"{RUNS}{run.pk}/events.json", {"as_of": asked}).status_code == 400


def test_nothing_asked_for_is_the_present(superuser: Client, run: WorkflowRun) -> None:
    for query in ({}, {"as_of": ""}, {"as_of": " "}, {"as_of": str(run.events.count())}):
        assert status(parse(superuser.get(f"{RUNS}{run.pk}/change/", query))) == "Completed"


def test_the_download_ends_at_a_time_too(superuser: Client, run: WorkflowRun) -> None:
    answer = superuser.get(f"{RUNS}{run.pk}/events.json", {"as_of": at(run, 20)})
    assert json.loads(b"".join(answer))["events"][-1]["type"] == "step.suspended"
