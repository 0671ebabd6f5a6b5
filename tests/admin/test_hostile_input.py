"""Whatever a request puts into an address or a form: an answer, an error of its own, or nothing done; never a 500."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client

from django_hookflow.admin.operating.operations import OPERATIONS
from django_hookflow.models import DeadLetterEntry, WorkflowRun
from tests.admin.conftest import DEAD_LETTERS, RUNS
from tests.admin.history import add_steps, fail, start

if TYPE_CHECKING:
    from collections.abc import Iterator

#: As they stand in an address or a form: percent-encoded where a text could not say it.
HOSTILE = {
    "nothing": "",
    "a NUL": "a%00b",
    "a surrogate as UTF-8": "%ED%A0%80",
    "no UTF-8": "%FF%C3%28",
    "half of a sequence": "%E2%82",
    "a percent sign": "%25%s%(x)s%",
    "an escape": "%1B%5B31m%0D%0Ax",
    "a direction": "%E2%80%AE%F3%A0%80%81",
    "a number beyond all": "9" * 400,
    "a number beyond bigint": "9223372036854775808",
    "a number beyond int": "2147483648",
    "a number beyond Python's": "1" * 5_000,
    "less than none": "-1",
    "another decimal system": quote("٣²½"),
    "no number": "NaN",
    "infinite": "-Infinity",
    "exponent": "1e400",
    "beyond the last year": "99999-12-31T00:00",
    "the last moment": "9999-12-31T23:59:59.999999%2B00:00",
    "the first moment": "0001-01-01T00:00:00",
    "far offset": "0001-01-01T00:00:00%2B23:59",
    "no day": "2026-02-30",
    "no hour": "2026-02-03T25:61",
    "no uuid": "00000000-0000-0000-0000-00000000000g",
    "a uuid": "00000000-0000-4000-8000-000000000000",
    "like": "%25_%5C",
    "a backslash at the end": "a%5C",
    "SQL": "%27%3B DROP TABLE x--",
    "an array": "a%2Cb%2C%2C",
    "JSON": "%7B%22a%22%3A[" * 50,
    "a step of nothing": "step%3A",
    "a step with a NUL": "step%3Aa%00b",
    "a message of nothing": "message%3Amsg_",
    "a long step": "step%3A" + "x" * 3_000,
    "a long message": "msg_" + "x" * 3_000,
    "long": "x" * 8_000,
    "quotes": "%22%27%60" * 20,
    "many quotes": "%22",
    "_XX of the admin's quoting": "_00_ED_A0_80_FF_5F",
    "a status": "running",
    "a tab": "stuck",
}
LISTS = (
    "q p o all subject _popup _to_field _facets _changelist_filters status__exact state workflow when since until "
    "workflow_id run_id__exact id id__exact id__in data__a created_at__gte created_at__year created_at__date "
    "created_at__isnull created_at__day__gte created_at__in created_at__range created_at__foo error_message__regex"
)
LIST_PARAMETERS = LISTS.split()
PAGES = "as_of scale steps type step seq before after fragment integrity _popup _to_field _changelist_filters"
PAGE_PARAMETERS = PAGES.split()
FORM_FIELDS = ["reason", "seen", "step", "result"]
MANY_FIELDS = f"action index select_across {ACTION_CHECKBOX_NAME} scope reason progress confirmed".split()


@pytest.fixture
def browser(superuser: Client) -> Client:
    superuser.raise_request_exception = False
    return superuser


@pytest.fixture
def run(db: None) -> WorkflowRun:
    key = start()
    add_steps(key, 3)
    fail(key)
    return WorkflowRun.objects.get(pk=key)


def addresses(run: WorkflowRun) -> Iterator[tuple[str, list[str]]]:
    """Every page of the admin, with the parameters that it or Django reads."""
    entry = DeadLetterEntry.objects.get(run_uid=run.pk)
    for listed in (RUNS, DEAD_LETTERS):
        yield listed, LIST_PARAMETERS
    for page in (f"{RUNS}{run.pk}/", f"{DEAD_LETTERS}{entry.pk}/"):
        yield f"{page}change/", PAGE_PARAMETERS
        yield f"{page}history/", ["p", "all"]
    yield f"{RUNS}{run.pk}/events.json", ["as_of"]
    yield f"{RUNS}activity/", ["who", "what", "since", "until", "before"]
    yield f"{RUNS}{run.pk}/compare/", ["with"]
    yield f"{RUNS}start/", ["workflow"]
    yield f"{RUNS}{run.pk}/start/", ["workflow"]
    yield f"{RUNS}{run.pk}/proof/", ["x"]
    for name in OPERATIONS:
        yield f"{RUNS}{run.pk}/operate/{name}/", ["step", "seen", "_changelist_filters"]


def post(client: Client, address: str, form: dict[str, str]) -> Any:
    body = "&".join(f"{name}={value}" for name, value in form.items())
    return client.post(address, body, content_type="application/x-www-form-urlencoded")


@pytest.mark.slow
@pytest.mark.parametrize("value", HOSTILE.values(), ids=[*HOSTILE])
def test_no_parameter_of_an_address_makes_a_page_fail(browser: Client, run: WorkflowRun, value: str) -> None:
    failed = []
    for address, parameters in addresses(run):
        for name in parameters:
            response: Any = browser.get(f"{address}?{name}={value}")
            b"".join(response) if response.streaming else response.content
            if response.status_code >= 500:
                failed.append(f"{address}?{name}: {response.exc_info[1]!r:.200}")
    assert failed == []


@pytest.mark.parametrize("value", HOSTILE.values(), ids=[*HOSTILE])
def test_no_address_fails_for_what_it_names(browser: Client, run: WorkflowRun, value: str) -> None:
    name = value.replace("?", "%3F")
    addresses = [
        f"{listed}{rest}"
        for listed in (RUNS, DEAD_LETTERS)
        for rest in (f"{name}/change/", f"{name}/history/", f"{name}/delete/", f"{name}/", name)
    ]
    addresses += [f"{RUNS}{name}/events.json", f"{RUNS}{name}/operate/cancel/", f"{RUNS}{run.pk}/operate/{name}/"]
    failed = [
        f"{method} {address[:100]}"
        for address in addresses
        for method in ("get", "post")
        if getattr(browser, method)(address).status_code >= 500
    ]
    assert failed == []


@pytest.mark.slow
@pytest.mark.parametrize("value", HOSTILE.values(), ids=[*HOSTILE])
def test_no_field_of_a_form_fails(browser: Client, run: WorkflowRun, value: str) -> None:
    failed = []
    for operation in OPERATIONS:
        address = f"{RUNS}{run.pk}/operate/{operation}/"
        for field in FORM_FIELDS:
            form = {"reason": "why", "seen": "99", "step": "step-1", "result": "null", field: value}
            if (answer := post(browser, address, form)).status_code >= 500:
                failed.append(f"{operation} {field}: {answer.exc_info[1]!r:.200}")
    entry = DeadLetterEntry.objects.get(run_uid=run.pk)
    for listed, key in ((RUNS, run.pk), (DEAD_LETTERS, entry.pk)):
        first = {"action": "replay_selected", ACTION_CHECKBOX_NAME: str(key)}
        asked = browser.post(listed, first).context["progress"].dumps()
        for field in MANY_FIELDS:
            form = {
                **first,
                "confirmed": "1",
                "scope": "selected",
                "reason": "why",
                "progress": quote(asked),
                field: value,
            }
            if (answer := post(browser, listed, form)).status_code >= 500:
                failed.append(f"{listed} {field}: {answer.exc_info[1]!r:.200}")
        failed += [
            f"POST {listed}?{parameter}"
            for parameter in ("q", "p", "state", "when", "since", "created_at__gte")
            if post(browser, f"{listed}?{parameter}={value}", first).status_code >= 500
        ]
    assert failed == []


@pytest.mark.usefixtures("shop_code")
def test_one_reason_with_what_a_page_cannot_show_is_refused_by_the_form(browser: Client, run: WorkflowRun) -> None:
    answer = post(browser, f"{RUNS}{run.pk}/operate/replay/", {"reason": "a%00b", "seen": "99"})
    assert answer.status_code == 200
    assert run.events.filter(type="run.replayed").count() == 0


@pytest.mark.parametrize(
    "run_id", ["replay-1-of-" + "-" * 36, "replay-1-of-" + "0" * 36, "../x", "%00", "a\\", "?q=1#x"]
)
def test_no_name_of_a_run_makes_its_page_fail(browser: Client, run_id: str) -> None:
    key = start(run_id=run_id, workflow_id="w", actor=run_id)
    fail(key, step_id=run_id)
    entry = DeadLetterEntry.objects.get(run_uid=key)
    for address in (RUNS, f"{RUNS}{key}/change/", f"{RUNS}{key}/operate/replay/", f"{DEAD_LETTERS}{entry.pk}/change/"):
        assert browser.get(address).status_code == 200, address
    assert b"".join(browser.get(f"{RUNS}{key}/events.json")).startswith(b"{")
