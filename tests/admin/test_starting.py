"""Starting a run by hand, from nothing or from another run."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import override_settings

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import WorkflowEvent, WorkflowRun
from tests.admin.conftest import RUNS
from tests.admin.page import Element, parse
from tests.testapp.models import LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db

START = f"{RUNS}start/"


@workflow(workflow_id="tests.starting")
def started(ctx: WorkflowContext) -> Any:
    return ctx.step.run("echo", lambda: ctx.data.get("amount"))


class Backwards:
    """Seals by turning a text round."""

    def seal(self, run_uid: Any, text: str) -> str:
        return text[::-1]

    open = seal


def filled(page: Element) -> dict[str, str]:
    """The fields of the form, as a browser would send them."""
    (form,) = [f for f in page.all("form", method="post") if f.all("textarea", name="data")]
    fields = {e.attributes["name"]: e.attributes.get("value", "") for e in form.all("input") if "name" in e.attributes}
    fields |= {e.attributes["name"]: e.raw_text.removeprefix("\n") for e in form.all("textarea")}
    for select in form.all("select"):
        chosen = [o for o in select.all("option") if "selected" in o.attributes]
        fields[select.attributes["name"]] = chosen[0].attributes["value"] if chosen else ""
    return fields


def send(client: Client, address: str = START, **fields: str) -> Any:
    given = filled(parse(client.get(address)))
    return client.post(address, {**given, "workflow": "tests.starting", "reason": "by hand", **fields})


def errors(answer: Any) -> str:
    return " ".join(e.text for e in parse(answer).all("p", **{"class": "hookflow-field-error"}))


def test_a_run_is_started_with_who_and_why(hookflow: Hookflow, superuser: Client) -> None:
    answer = send(superuser, data='{"amount": 7}', label="order 17", run_id="order-17", reason="the shop was down")

    run = WorkflowRun.objects.get()
    assert answer.url == f"{RUNS}{run.pk}/change/"
    assert (run.run_id, run.label, run.data, run.workflow_id) == (
        "order-17",
        "order 17",
        {"amount": 7},
        "tests.starting",
    )
    first, second = run.events.all()
    assert (first.type, first.actor) == ("run.triggered", "root")
    assert (second.type, second.actor, second.payload) == ("run.noted", "root", {"reason": "the shop was down"})
    assert str(LogEntry.objects.get().change_message).count("the shop was down") == 1
    assert hookflow.drive("order-17").result == 7


def test_a_form_sent_twice_starts_one_run(hookflow: Hookflow, superuser: Client) -> None:
    form = {**filled(parse(superuser.get(START))), "workflow": "tests.starting", "reason": "twice"}
    first, second = superuser.post(START, form), superuser.post(START, form)

    assert first.headers["Location"] == second.headers["Location"]
    assert WorkflowRun.objects.get().events.count() == 2
    assert "this run already exists" in superuser.get(second.headers["Location"]).content.decode()
    assert LogEntry.objects.count() == 1


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"data": "{"}, "This is not JSON"),
    ({"data": ""}, "This field is required"),
    ({"data": "[1]"}, "Data must be a JSON object"),
    ({"data": "null"}, "Data must be a JSON object"),
    ({"data": '"text"'}, "Data must be a JSON object"),
    ({"data": '{"a": NaN}'}, "NaN is not a JSON number"),
    ({"data": '{"a": 1e999}'}, "data"),
    ({"data": '{"a": "\\u0000"}'}, "data"),
    ({"data": '{"a": "\\ud800"}'}, "data"),
    ({"data": '{"a": ' + "[" * 300 + "]" * 300 + "}"}, "deep"),
    ({"data": '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"}, "deep"),
    ({"data": '{"a": {"$datetime": "no"}}'}, "beginning with $"),
    ({"data": '{"a": {"$decimal": "x"}}'}, "beginning with $"),
    ({"data": '{"a": {"$uuid": []}}'}, "beginning with $"),
    ({"data": '{"a": {"$bytes": 7}}'}, "beginning with $"),
    ({"data": '{"$decimal": "1.5"}'}, "Data must be a JSON object, and this is"),
    ({"data": '{"card": {"token": "[masked]"}, "all": ["[masked]"]}'}, "the real one at data.card.token, data.all[0]."),
    ({"reason": ""}, "This field is required"),
    ({"workflow": ""}, "This field is required"),
    ({"workflow": "no.such"}, "Select a valid choice"),
    ({"run_id": "x" * 201}, "run_id"),
    ({"run_id": "line\nbreak"}, "run_id"),
    ({"label": "x" * 256}, "at most 255"),
    ({"own_id": "no"}, "Enter a valid UUID"),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_what_cannot_be_started_is_said_in_the_form_and_kept_in_it(
    hookflow: Hookflow, superuser: Client, fields: dict[str, str], words: str
) -> None:
    answer = send(superuser, **{"label": "kept", **fields})

    assert words in errors(answer)
    assert filled(parse(answer))["label"] == fields.get("label", "kept")
    assert WorkflowEvent.objects.count() == 0


@override_settings(DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE=100)
def test_data_that_is_too_large(hookflow: Hookflow, superuser: Client) -> None:
    assert "100" in errors(send(superuser, data=json.dumps({"text": "x" * 200})))


@override_settings(DJANGO_HOOKFLOW_DOMAIN=None)
def test_without_a_transport_the_form_says_what_is_missing(superuser: Client) -> None:
    assert "DJANGO_HOOKFLOW_DOMAIN is not configured" in errors(send(superuser))
    assert WorkflowEvent.objects.count() == 0


def test_an_id_that_is_taken(hookflow: Hookflow, superuser: Client) -> None:
    started.trigger({"amount": 1}, "order-1")
    assert "A run with this id already exists" in errors(send(superuser, run_id="order-1", data='{"amount": 2}'))
    assert WorkflowEvent.objects.count() == 1


def test_run_again_with_other_data(hookflow: Hookflow, superuser: Client) -> None:
    thing = LedgerEntry.objects.create(account="cash", amount=1)
    started.trigger({"amount": Decimal("1.50"), "secret": "s3cret"}, "order-1", label="order 1", subject=thing)
    run = hookflow.drive("order-1")
    page = parse(superuser.get(f"{RUNS}{run.pk}/change/"))
    (link,) = [a.attributes["href"] for a in page.all("a") if a.text == "Run again with other data"]

    given = filled(parse(superuser.get(link)))
    assert (given["workflow"], given["label"], given["run_id"]) == ("tests.starting", "order 1", "")
    assert json.loads(given["data"]) == {"amount": {"$decimal": "1.50"}, "secret": "s3cret"}
    send(superuser, link)

    again = WorkflowRun.objects.exclude(pk=run.pk).get()
    assert again.data == run.data
    assert again.subject == thing
    assert hookflow.drive(again.run_id).result == run.result == {"$decimal": "1.50"}


@pytest.mark.parametrize("reason", ["redacted", "sealed", "withheld", "code"])
def test_what_cannot_be_filled_in_is_said(
    hookflow: Hookflow, superuser: Client, staff: Callable[..., Client], reason: str, settings: Any
) -> None:
    client = superuser
    if reason == "sealed":
        settings.DJANGO_HOOKFLOW_SEAL = f"{__name__}.Backwards"
    run = hookflow.drive(started.trigger({"amount": 1, "password": "s3cret"}))
    if reason == "redacted":
        run.redact("data.password", reason="asked to")
    elif reason == "withheld":
        client = staff("view_workflowrun", "trigger_workflowrun")
    elif reason == "code":
        run = hookflow.make_run("code.that.is.gone", data={"amount": 1})
    page = parse(client.get(f"{RUNS}{run.pk}/start/"))

    words = {"redacted": "redacted", "sealed": "sealed", "withheld": "You may not see", "code": "has no code for"}
    assert words[reason] in page.text
    assert "s3cret" not in str(page)
    assert filled(page)["workflow"] == ("" if reason == "code" else "tests.starting")


def test_it_takes_a_permission_of_its_own(hookflow: Hookflow, staff: Callable[..., Client]) -> None:
    run_id = started.trigger({"amount": 1})
    run = WorkflowRun.objects.get(run_id=run_id)
    client = staff("view_workflowrun", "operate_workflowrun", "view_payload_workflowrun")

    for address in (START, f"{RUNS}{run.pk}/start/"):
        assert client.get(address).status_code == 403
        assert client.post(address, {"workflow": "tests.starting", "data": "{}", "reason": "…"}).status_code == 403
    assert "Run again" not in client.get(f"{RUNS}{run.pk}/change/").content.decode()
    assert WorkflowRun.objects.count() == 1


def test_a_run_that_there_is_not(superuser: Client) -> None:
    assert superuser.get(f"{RUNS}0198c0de-0000-7000-8000-000000000000/start/").status_code == 404
    assert superuser.put(START).status_code == 405
