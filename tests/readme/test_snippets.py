"""Every Python block of the README and the guides, executed, with what the text around it says of it."""

from __future__ import annotations

import datetime
import re
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django import VERSION
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from django_hookflow import Workflow, WorkflowContext, workflow
from django_hookflow.exceptions import RunConflict, WorkflowError
from django_hookflow.feed.subscribers import registered_subscriptions
from django_hookflow.models import DeadLetterEntry, StepExecution, WorkflowEvent, WorkflowRun, WorkflowRunStatus
from django_hookflow.runtime.retries import DEFAULT_RETRY
from django_hookflow.sealing import opened
from django_hookflow.testing import Hookflow
from tests.github.server import RUN, TOKEN, GitHub
from tests.readme.shop import Bank, Payments, Provider, Shop
from tests.readme.snippets import find_block, read_all, read_blocks
from tests.subscriptions import no_subscriptions
from tests.testapp.models import LedgerEntry, RunKey

pytestmark = pytest.mark.django_db(transaction=True)

#: Blocks by heading and number, each with the test that runs it. Those of the set-up run in test_set_up.py.
SHOWN: dict[tuple[str, int], str] = {
    ("Into an existing project", 1): "test_five_steps",
    ("Into an existing project", 2): "test_five_steps",
    ("Into an existing project", 3): "test_five_steps",
    ("With QStash", 1): "test_the_set_up_with_qstash_passes_every_check",
    ("With QStash", 2): "test_the_set_up_with_qstash_passes_every_check",
}


def shows(heading: str, number: int = 1) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(test: Callable[..., None]) -> Callable[..., None]:
        SHOWN[heading, number] = test.__name__
        return test

    return register


@pytest.fixture
def github(settings: Any) -> Iterator[GitHub]:
    with GitHub() as server:
        settings.DJANGO_HOOKFLOW_GITHUB_API_URL = server.url
        settings.GITHUB_PERSONAL_ACCESS_TOKEN = TOKEN
        yield server


def test_every_block_of_python_is_run_by_a_test() -> None:
    blocks = [(block.heading, block.number) for block in read_blocks() if block.language == "python"]
    assert sorted(blocks) == sorted(SHOWN), "each block once, so headings with code must differ from page to page"


@shows("Several steps at once")
def test_an_async_workflow(hookflow: Hookflow) -> None:
    async def ask_shop(shop: int) -> int:
        return shop * 10

    def order_from(offer: int) -> str:
        return f"ordered for {offer}"

    made = find_block("Several steps at once").run(ask_shop=ask_shop, order_from=order_from)
    run = hookflow.run(made["compare_offers"], {"shops": [3, 1, 2]})
    assert (run.status, run.result) == ("completed", "ordered for 10")


@shows("Groups of steps")
def test_a_group_of_steps(hookflow: Hookflow) -> None:
    prices = {"flight to Rome": 200, "hotel in Rome": 90}
    made = find_block("Groups of steps").run(
        workflow=workflow,
        find_flight=lambda city: f"flight to {city}",
        find_hotel=lambda city: f"hotel in {city}",
        ask_price=prices.__getitem__,
    )
    run = hookflow.run(made["plan_trip"], {"city": "Rome"})
    assert (run.status, run.result) == ("completed", 290)
    steps = StepExecution.objects.values_list("step_id", flat=True)
    assert sorted(steps) == ["cool-off", "flight", "hotel", "price[0]", "price[1]"]


@shows("Starting later, or only once")
def test_runs_that_begin_later_and_once(hookflow: Hookflow) -> None:
    @workflow(workflow_id="readme.later")
    def later(ctx: WorkflowContext) -> None: ...

    meeting = SimpleNamespace(starts_at=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1))
    names = {"remind": later, "sync_shop": later, "data": {}, "meeting": meeting, "timedelta": datetime.timedelta}
    find_block("Starting later, or only once").run(**names)
    find_block("Starting later, or only once").run(**names)
    wake_ats = [run.wake_at for run in WorkflowRun.objects.order_by("created_at")]
    assert [moment is None for moment in wake_ats] == [False, False, True, False, False], "one for the key"


@shows("A workflow")
def test_the_first_workflow(hookflow: Hookflow, names: dict[str, Any], provider: Provider) -> None:
    run = hookflow.drive(names["run_id"])
    assert (run.status, run.result) == ("completed", {"status": "completed", "parcel": "parcel-1"})
    assert [entry.reference for entry in LedgerEntry.objects.all()] == ["ch_1"]
    assert len(provider.requests) == 1
    assert len([line for line in find_block("A workflow").text.splitlines() if line]) <= 15


def test_the_log_of_a_run_that_dies(hookflow: Hookflow, names: dict[str, Any], provider: Provider, shop: Shop) -> None:
    """The listing under "When it dies in the middle"."""
    hookflow.crash("charge", "after")
    run = hookflow.drive(names["run_id"])
    listing = find_block("When it dies in the middle", language="text").text.splitlines()[1:]
    told = [
        f"{event.seq:>3}  {event.type:<14}  {event.step_id or ''}".rstrip() for event in hookflow.events(run.run_id)
    ]
    assert told == [line.rstrip() for line in listing]
    assert (len(provider.requests), len(provider.charges), len(set(provider.requests))) == (2, 1, 1)
    assert shop.calls == ["validate_order", "fulfil_order"]


@shows("Steps")
def test_steps_in_a_loop(hookflow: Hookflow, names: dict[str, Any], shop: Shop) -> None:
    send_invoices: Workflow = find_block("Steps").run(**names)["send_invoices"]
    run = hookflow.run(send_invoices, {"month": "2026-05"})
    assert (run.status, run.result) == ("completed", 2)
    assert LedgerEntry.objects.filter(reference="2026-05").count() == 2
    assert shop.calls.count("mail_invoice") == 2


@shows("Idempotency keys")
def test_an_idempotency_key_for_a_client_of_ones_own(hookflow: Hookflow, names: dict[str, Any]) -> None:
    payments = Payments()
    refund: Workflow = find_block("Idempotency keys").run(**names, payments=payments)["refund"]
    hookflow.crash("refund", "after")
    assert hookflow.run(refund, {"charge_id": "ch_1"}).result == "refund of ch_1"
    first, second = payments.refunds
    assert first == second


@shows("Starting a run")
def test_a_run_id_of_ones_own(names: dict[str, Any]) -> None:
    find_block("Starting a run").run(**names)
    assert WorkflowRun.objects.filter(run_id="order-7").count() == 1


@shows("When a step fails")
def test_retry_and_timeout(hookflow: Hookflow, names: dict[str, Any], shop: Shop) -> None:
    class PriceListWithdrawnError(Exception):
        pass

    names["PriceListWithdrawn"] = PriceListWithdrawnError
    import_prices: Workflow = find_block("When a step fails").run(**names)["import_prices"]
    shop.failures = [ConnectionError("away"), TimeoutError("slow")]
    run = hookflow.run(import_prices, {"supplier": "acme"})
    assert (run.status, run.result) == ("completed", 1)
    waits = [event.facts.get("retry_in") for event in run.events.filter(type="step.failed").order_by("seq")]
    assert 54 <= waits[0] <= 60
    assert 216 <= waits[1] <= 240
    shop.failures = [PriceListWithdrawnError()]
    assert hookflow.run(import_prices, {"supplier": "acme"}).status == "failed"


def test_the_default_is_four_attempts_after_1_4_and_16_seconds() -> None:
    delays = [DEFAULT_RETRY.delay_after(ConnectionError(), attempt) for attempt in (1, 2, 3)]
    for delay, longest in zip(delays, (1, 4, 16), strict=True):
        assert delay is not None
        assert 0.9 * longest <= delay <= longest
    assert DEFAULT_RETRY.delay_after(ConnectionError(), 4) is None


@shows("Catching a failure")
def test_catching_a_workflow_error(hookflow: Hookflow, names: dict[str, Any], shop: Shop) -> None:
    book_trip: Workflow = find_block("Catching a failure").run(**names)["book_trip"]
    run = hookflow.run(book_trip, {"to": "Rome"})
    assert (run.status, run.result) == ("completed", {"booked": False, "because": "no room in Rome", "attempts": 1})
    assert shop.calls == ["cancel_flight"]


@shows("Steps in doubt")
@pytest.mark.parametrize("when", ["before", "after"])
def test_doubt_that_a_function_settles(hookflow: Hookflow, names: dict[str, Any], when: Any) -> None:
    bank = Bank()
    pay_out: Workflow = find_block("Steps in doubt").run(**names, bank=bank)["pay_out"]
    hookflow.crash("transfer", when)
    assert hookflow.run(pay_out, {"amount": 100}).result == 1
    assert len(bank.transfers) == 1


@shows("Waiting for a signal")
def test_waiting_for_a_signal(hookflow: Hookflow, names: dict[str, Any]) -> None:
    found = find_block("Waiting for a signal").run(**names)
    refund: Workflow = found["refund"]
    assert hookflow.drive(found["run_id"]).result == {"refunded": True}
    assert LedgerEntry.objects.get(reference="ada").account == "order-7"

    refused = refund.trigger({"order": 8})
    hookflow.deliver(refused)
    refund.signal(refused, "approval", {"approved": False, "why": "too late"})
    assert hookflow.drive(refused).result == {"refunded": False, "because": "too late"}

    forgotten = refund.trigger({"order": 9})
    hookflow.deliver(forgotten)
    hookflow.advance(3 * 86_400)
    assert hookflow.drive(forgotten).result == {"refunded": False, "because": "nobody answered"}


@shows("Child runs")
def test_a_run_that_starts_another(hookflow: Hookflow, names: dict[str, Any]) -> None:
    def next_number(order: int) -> str:
        if order < 0:
            raise ValueError("no such order")
        return f"R-{order}"

    found = find_block("Child runs").run(**names, WorkflowError=WorkflowError, next_number=next_number)
    run = hookflow.run(found["take_order"], {"order": 7})
    assert (run.result, run.children.get().workflow_id) == ({"invoice": "R-7"}, "invoice")
    assert (hookflow.run(found["take_order"], {"order": -1}).result or {})[
        "because"
    ] == "step 'number' failed after 1 attempt: ValueError: no such order"


@shows("Endless workflows")
def test_a_run_that_goes_on_as_another(hookflow: Hookflow, names: dict[str, Any]) -> None:
    answers = ["paid", "paid", "cancelled"]
    found = find_block("Endless workflows").run(**names, charge_customer=lambda customer: answers.pop(0))
    found["renew"].trigger({"customer": "ada", "months": 0}, run_id="order-7")
    runs = [hookflow.drive(run_id) for run_id in ("order-7", "order-7~2", "order-7~3")]
    assert [run.result for run in runs] == [None, None, {"months": 2}]


@shows("A link that sends a signal")
def test_a_link_that_sends_a_signal(hookflow: Hookflow, client: Client, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = "https://shop.example.com"
    mails: list[str] = []
    found = find_block("A link that sends a signal").run(
        workflow=workflow, timedelta=datetime.timedelta, mail_manager=lambda yes, no: mails.extend([yes, no])
    )
    run_id = found["expense"].trigger({})
    hookflow.deliver(run_id)
    yes, no = (mail.removeprefix("https://shop.example.com") for mail in mails)
    assert b'name="approved" value="yes"' in client.get(yes).content
    assert client.post(yes, {"approved": "yes"}).status_code == 200
    assert client.post(no, {"approved": "no"}).status_code == 409
    assert hookflow.drive(run_id).result == "yes"


@shows("Wrappers")
def test_wrappers(hookflow: Hookflow, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    reported: list[dict[str, Any]] = []
    found = find_block("Wrappers").run(report_error=lambda error, **about: reported.append({"error": error, **about}))
    module = types.ModuleType("shop.wrappers")
    vars(module).update({name: found[name] for name in ("InTenant", "ReportErrors")})
    monkeypatch.setitem(sys.modules, "shop.wrappers", module)
    settings.DJANGO_HOOKFLOW_WRAPPERS = ["shop.wrappers.InTenant", "shop.wrappers.ReportErrors"]
    tenant = found["current_tenant"]
    failures = iter([error := ConnectionError("away")])

    def look() -> Any:
        for failure in failures:
            raise failure
        return tenant.get()

    @workflow(workflow_id="tests.readme.of_a_tenant")
    def of_a_tenant(ctx: WorkflowContext) -> list[Any]:
        return [tenant.get(), ctx.step.run("look", look)]

    for name in ("red", "blue"):
        run = hookflow.run(of_a_tenant, {"tenant": name}, name)
        assert run.result == [name, name]
    assert tenant.get() is None
    about = {"run": "red", "workflow": "tests.readme.of_a_tenant", "step": "look", "attempt": 1}
    assert reported == [{"error": error, **about}]


@shows("Wrappers", 2)
def test_an_async_wrapper(hookflow: Hookflow, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    current_user: ContextVar[Any] = ContextVar("current_user", default=None)
    found = find_block("Wrappers", 2).run(User=User, current_user=current_user)
    module = types.ModuleType("shop.wrappers")
    module.AsUser = found["AsUser"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop.wrappers", module)
    settings.DJANGO_HOOKFLOW_WRAPPERS = ["shop.wrappers.AsUser"]

    def name() -> str:
        return str(current_user.get().username)

    async def name_soon() -> str:
        return name()

    @workflow(workflow_id="tests.readme.as_user")
    async def as_user(ctx: WorkflowContext) -> list[Any]:
        step: Any = ctx.step
        return [name(), await step.run("plain", name), await step.run("async", name_soon)]

    ada = User.objects.create(username="ada")
    assert hookflow.run(as_user, {"user": ada.pk}).result == ["ada"] * 3
    assert current_user.get() is None


@shows("Changing running workflows")
def test_a_renamed_step(hookflow: Hookflow, names: dict[str, Any], shop: Shop) -> None:
    block = find_block("Changing running workflows")
    before = (
        "@workflow(workflow_id='signup')\n"
        "def signup(ctx):\n"
        "    ctx.step.run('send-mail', shop.send_welcome, ctx.data['email'])\n"
        "    ctx.step.sleep('a-week', seconds=7 * 86_400)\n"
    )
    old: Workflow = replace(block, text=before).run(**{**names, "workflow": workflow, "shop": shop})["signup"]
    run_id = old.trigger({"email": "ada@example.com"})
    assert hookflow.deliver(run_id).answer == "suspended"
    block.run(**names)
    assert hookflow.drive(run_id).status == "completed"
    assert shop.calls == ["send_welcome", "send_tips"]


@shows("Dead letters")
def test_replaying_dead_letters(hookflow: Hookflow, names: dict[str, Any], shop: Shop) -> None:
    hookflow.stub("fulfil", raises=ValueError("no parcel"))
    failed = hookflow.drive(names["run_id"])
    assert failed.status == "failed"
    hookflow.stub("fulfil", "parcel-2")
    assert find_block("Dead letters").run()["run_id"] == failed.run_id
    assert hookflow.drive(failed.run_id).result == {"status": "completed", "parcel": "parcel-2"}
    assert shop.calls == ["validate_order"]
    assert DeadLetterEntry.objects.get().is_replayed


@shows("Acting on runs from code")
def test_operating_a_run(hookflow: Hookflow, names: dict[str, Any]) -> None:
    run_id = names["process_order"].trigger({"order_id": 7}, run_id="order-7")
    hookflow.deliver(run_id)
    run: WorkflowRun = find_block("Acting on runs from code").run()["run"]
    assert run.status == "cancelled"
    said = [event for event in hookflow.events(run_id) if event.actor == "ada"]
    spoken = [event.type for event in said if event.type.startswith("run.")]
    assert spoken == ["run.paused", "run.resumed", "run.rewound", "run.cancelled"]
    assert said[-1].payload["reason"] == "the customer called"


@shows("Reading runs from code", 1)
def test_reading_runs(hookflow: Hookflow, names: dict[str, Any]) -> None:
    hookflow.run(names["process_order"], {"order_id": 7}, run_id="order-7")
    left = find_block("Reading runs from code", 1).run()
    assert left["steps"]["fulfil"] == "parcel-7"
    assert left["story"][0] == (1, "run.triggered", None, None)
    assert left["story"][-1][1] == "run.completed"
    assert left["failed"] == 0


def test_the_statuses_that_the_text_names() -> None:
    text = re.search(r"`status` is (.*?);", read_all(), re.DOTALL)
    assert text is not None
    assert re.findall(r"`(\w+)`", text[1]) == WorkflowRunStatus.values


@shows("GitHub Actions")
def test_github_actions(hookflow: Hookflow, github: GitHub) -> None:
    left = find_block("GitHub Actions").run()
    assert hookflow.run(left["release"], {"environment": "production"}).result == RUN["html_url"]
    assert github.requests[0].json == {"ref": "main", "inputs": {"environment": "production"}}
    entry = LedgerEntry(account="page", amount=1)
    left["save_page"](entry)
    assert entry.pk is not None
    assert len(github.requests) == 2


@shows("A test case")
def test_a_test_case(names: dict[str, Any]) -> None:
    case = find_block("A test case").run(**names)["OrderTests"]
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert (result.testsRun, result.failures, result.errors) == (1, [], [])


@shows("With pytest")
def test_the_fixture(hookflow: Hookflow, names: dict[str, Any], provider: Provider) -> None:
    find_block("With pytest").run(**names)["test_a_refused_card_is_not_charged_again"](hookflow)
    assert provider.requests == []


@shows("Testing code that reads runs")
def test_a_run_is_made(hookflow: Hookflow) -> None:
    names = {"WorkflowRun": WorkflowRun}
    find_block("Testing code that reads runs").run(**names)["test_a_failed_order_is_listed"](hookflow)


@shows("Redacting")
def test_redacting(hookflow: Hookflow, names: dict[str, Any], shop: Shop) -> None:
    data = {"order_id": 1, "customer": {"email": "ada@example.com"}}
    hookflow.stub("fulfil", raises=ValueError("ada@example.com has moved"))
    run = hookflow.run(names["process_order"], data, run_id="order-7")
    assert run.status == "failed"
    find_block("Redacting").run()
    run.refresh_from_db()
    assert run.data["customer"]["email"] == "[redacted]"
    assert run.error_message == ""
    assert [event.actor for event in run.events.filter(type="event.redacted")] == ["ada", "ada"]


@shows("Encrypting")
def test_sealing(hookflow: Hookflow, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setitem(sys.modules, "shop.models", sys.modules["tests.testapp.models"])
    sealing: Any = types.ModuleType("shop.sealing")
    sealing.RunKeys = find_block("Encrypting").run()["RunKeys"]
    monkeypatch.setitem(sys.modules, "shop.sealing", sealing)
    settings.DJANGO_HOOKFLOW_SEAL = "shop.sealing.RunKeys"

    @workflow(workflow_id="tests.sealed")
    def greet(ctx: Any) -> Any:
        name = ctx.step.run("look-up", lambda: ("Ada", ctx.data["email"]))
        ctx.step.sleep("a-while", 60)
        ctx.step.run("check", lambda: None)
        return {"greeting": f"Dear {name[0]}", "known": type(name).__name__}

    run_id = greet.trigger({"email": "ada@example.com"}, run_id="greeting-1")
    assert greet.trigger({"email": "ada@example.com"}, run_id="greeting-1") == run_id
    with pytest.raises(RunConflict):
        greet.trigger({"email": "bob@example.com"}, run_id="greeting-1")
    run = hookflow.drive(run_id)
    assert run.status == "completed"
    assert opened(run.run_uid, run.result) == {"greeting": "Dear Ada", "known": "tuple"}
    assert opened(run.run_uid, run.data) == {"email": "ada@example.com"}
    rows = [*WorkflowEvent.objects.values_list("payload"), *StepExecution.objects.values_list("result"), run.data]
    assert "Dear Ada" not in str(rows)
    assert "ada@" not in str(rows)

    run.rewind(to_step="check", reason="once more")
    RunKey.objects.filter(run_uid=run.run_uid).delete()
    shredded = hookflow.drive(run_id)
    assert (shredded.status, shredded.error_message) == (
        "failed",
        f"the sealed data of run {run.run_uid} cannot be opened: its key has been destroyed",
    )
    DeadLetterEntry.objects.get().replay(reason="try")
    settings.DJANGO_HOOKFLOW_SEAL = None
    assert "DJANGO_HOOKFLOW_SEAL is not configured" in hookflow.drive(run_id).error_message


@shows("Reading runs from code", 2)
def test_as_of(hookflow: Hookflow, names: dict[str, Any]) -> None:
    hookflow.run(names["process_order"], {"order_id": 7}, run_id="order-7")
    told = find_block("Reading runs from code", 2).run()
    assert told["after_three_events"].seq == 3
    assert told["steps_then"] == ["validate"]
    assert (told["failed_then"], told["newest_then"]) == (0, [])


# Which mailer a project has is its own affair; the snippet sends mail as Django's documentation does.
@pytest.mark.filterwarnings("ignore:Django 2028 will not have a default mailer")
@shows("Subscribers")
def test_subscribers(hookflow: Hookflow, names: dict[str, Any], mailoutbox: list[Any], settings: Any) -> None:
    settings.ADMINS = [("Ada", "ada@example.com")] if VERSION < (6, 0) else ["ada@example.com"]
    orders: list[Any] = []

    @workflow(workflow_id="tests.receipt")
    def send_receipt(ctx: Any) -> None:
        orders.append(ctx.data["order"])

    with no_subscriptions():
        find_block("Subscribers").run(send_receipt=send_receipt)
        assert [s.name for s in registered_subscriptions()] == ["receipts", "tell-admins"]
        call_command("hookflow_subscribers", "--once")
        hookflow.run(names["process_order"], {"order_id": 7}, run_id="order-7")
        hookflow.stub("fulfil", raises=ValueError("no paper"))
        hookflow.run(names["process_order"], {"order_id": 8}, run_id="order-8")
        call_command("hookflow_subscribers", "--once")
        call_command("hookflow_subscribers", "--once")
    assert [mail.subject for mail in mailoutbox] == ["[Django] Run order-8 failed"]
    assert hookflow.drive("receipt-order-7").status == "completed"
    assert orders == ["order-7"]


@shows("Checkpoints")
def test_signing_with_a_pair_of_keys(hookflow: Hookflow, names: dict[str, Any], settings: Any, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    environment = SimpleNamespace(environ={"CHECKPOINT_KEY": pem, "CHECKPOINT_PUBLIC_KEY": public})
    hookflow.run(names["process_order"], {"order_id": 7}, run_id="order-7")
    for name, value in find_block("Checkpoints").run(os=environment).items():
        if name.startswith("DJANGO_HOOKFLOW_"):
            setattr(settings, name, value)
    call_command("hookflow_checkpoint", "--output", str(tmp_path / "checkpoint.jsonl"), stdout=StringIO())
    settings.DJANGO_HOOKFLOW_CHECKPOINT_KEY = None  # whoever verifies has not got it
    output = StringIO()
    call_command("hookflow_verify", "--checkpoint", str(tmp_path / "checkpoint.jsonl"), stdout=output)
    assert "order-7" not in output.getvalue()


@shows("Linking your models to their runs")
def test_what_a_run_is_about(hookflow: Hookflow) -> None:
    @workflow(workflow_id="guide.about")
    def process_order(ctx: WorkflowContext) -> None:
        """Has nothing to do."""

    order = LedgerEntry.objects.create(account="order", amount=1)
    find_block("Linking your models to their runs").run(process_order=process_order, order=order)
    (run,) = WorkflowRun.objects.for_subject(order)
    assert run.subject == order


@shows("Linking your models to their runs", 2)
def test_the_page_of_a_thing_has_its_runs(hookflow: Hookflow) -> None:
    ours = type(admin.site._registry[LedgerEntry])  # which is put back
    admin.site.unregister(LedgerEntry)
    try:
        names = find_block("Linking your models to their runs", 2).run(Order=LedgerEntry)
        assert isinstance(admin.site._registry[LedgerEntry], names["OrderAdmin"])
        assert names["OrderAdmin"].change_form_template == "admin/django_hookflow/subject/change_form.html"
    finally:
        admin.site.unregister(LedgerEntry)
        admin.site.register(LedgerEntry, ours)
