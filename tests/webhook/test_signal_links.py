"""Links that send a signal, over HTTP: GET never acts, POST acts once, and every other case has a page of its own."""

from __future__ import annotations

import datetime
import io
import json
from typing import Any

import pytest
from django.core.management import call_command
from django.core.signing import Signer
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_hookflow import Workflow, WorkflowContext, workflow
from django_hookflow.exceptions import InvalidText, NeedsLog, NotConfigured
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.runtime.signal_links import SignalLink, end_of
from django_hookflow.signal_view import OVER, SENT, USED, _send
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = "https://app.example.com"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def _at_home(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = ORIGIN
    settings.STATIC_URL = "/static/"


@pytest.fixture
def asking() -> Workflow:
    @workflow(workflow_id="tests.links.asking")
    def asking(ctx: WorkflowContext) -> Any:
        urls.append(ctx.signal_url("approval", expires=3600))
        taken.append(ctx.step.wait_for_signal("approval"))
        return taken[-1]

    urls: list[str] = []
    taken: list[Any] = []
    asking.urls, asking.taken = urls, taken  # type: ignore[attr-defined]
    return asking


@pytest.fixture
def link(hookflow: Hookflow, asking: Workflow) -> str:
    """The path of a link of a run that waits."""
    hookflow.deliver(asking.trigger({}, "run-1"))
    return path_of(asking.urls[0])  # type: ignore[attr-defined]


def path_of(url: str) -> str:
    assert url.startswith(f"{ORIGIN}/hookflow/signal/")
    return url.removeprefix(ORIGIN)


def signals() -> list[tuple[Any, str | None]]:
    events = WorkflowEvent.objects.filter(type="signal.received").order_by("seq")
    return [(event.payload["value"], event.actor) for event in events]


def heading(response: Any) -> str:
    text = response.content.decode()
    assert text.count("<h1>") == 1
    return str(text.partition("<h1>")[2].partition("</h1>")[0])


class TestUsing:
    def test_a_mail_scanner_changes_nothing(self, client: Client, link: str) -> None:
        for method in (client.get, client.head, client.get):
            response = method(link)
            assert response.status_code == 200
        assert heading(client.get(link)) == "Please confirm"
        assert b'<form method="post">' in response.content
        assert signals() == []

    def test_looking_at_it_is_one_query(self, client: Client, link: str) -> None:
        with CaptureQueriesContext(connection) as queries:
            client.get(link)
        assert len(queries) == 1

    def test_a_click_sends_it_and_the_run_goes_on(self, client: Client, link: str, hookflow: Hookflow) -> None:
        response = client.post(link)
        assert (response.status_code, heading(response)) == (200, "Thank you")
        assert signals() == [({}, "signed link")]
        assert hookflow.drive("run-1").result == {}

    def test_what_the_url_adds_is_shown_and_posted(self, client: Client, link: str, hookflow: Hookflow) -> None:
        response = client.get(f"{link}?decision=approve&note=<b>&note=2")
        assert b"<dt>decision</dt><dd>approve</dd>" in response.content
        assert b'<input type="hidden" name="note" value="&lt;b&gt;">' in response.content
        client.post(f"{link}?decision=approve", {"decision": "approve", "note": ["<b>", "2"]})
        assert signals()[0][0] == {"decision": "approve", "note": ["<b>", "2"]}

    @pytest.mark.parametrize("value", [None, 0, "ä", [1, {"a": None}], {"$decimal": "1"}, {}])
    def test_json_is_the_value(self, client: Client, link: str, hookflow: Hookflow, asking: Any, value: Any) -> None:
        response = client.post(link, json.dumps(value), content_type="application/json")
        assert (response.status_code, response.json()) == (200, {"status": "sent"})
        assert hookflow.drive("run-1").status == "completed"
        assert asking.taken == [value]

    def test_nothing_is_null(self, client: Client, link: str, hookflow: Hookflow) -> None:
        client.generic("POST", link)
        assert hookflow.drive("run-1").result is None

    def test_two_clicks_are_one_signal(self, client: Client, link: str) -> None:
        assert client.post(link, {"n": "1"}).status_code == 200
        second = client.post(link, {"n": "2"})
        assert (second.status_code, heading(second)) == (409, "This link has already been used")
        assert client.get(link).status_code == 409
        assert [value for value, _ in signals()] == [{"n": "1"}]

    def test_two_at_the_same_moment_are_one(self, client: Client, link: str, hookflow: Hookflow) -> None:
        """Both have looked the link up before either sends: the log decides."""
        token = link.split("/")[-2]
        other = SignalLink.read(token)
        standing = other.stand()
        assert _send(other, standing, 1) == SENT
        assert _send(other, standing, 2) == USED
        assert hookflow.drive("run-1").result == 1

    def test_no_cookie_or_token_is_wanted(self, link: str) -> None:
        assert Client(enforce_csrf_checks=True).post(link).status_code == 200


class TestRefused:
    @pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: "x" + t, lambda t: "nonsense", lambda t: t.upper()])
    def test_forged(self, client: Client, link: str, change: Any) -> None:
        token = link.split("/")[-2]
        for answer in (client.get, client.post):
            response = answer(f"/hookflow/signal/{change(token)}/")
            assert (response.status_code, heading(response)) == (403, "This link is not valid")
        assert signals() == []

    def test_signed_for_something_else(self, client: Client, link: str) -> None:
        content = SignalLink.read(link.split("/")[-2])
        token = Signer(salt="other").sign_object([content.run_uid.hex, content.name, content.id, content.until])
        assert client.post(f"/hookflow/signal/{token}/").status_code == 403

    def test_keys_that_have_been_rotated(self, client: Client, link: str, settings: Any) -> None:
        old, settings.SECRET_KEY = settings.SECRET_KEY, "another key"
        assert client.get(link).status_code == 403
        settings.SECRET_KEY_FALLBACKS = [old]
        assert client.get(link).status_code == 200

    def test_expired(self, client: Client, link: str, hookflow: Hookflow) -> None:
        hookflow.advance(3590)
        assert client.get(link).status_code == 200
        hookflow.advance(20)
        for answer in (client.get, client.post):
            response = answer(link)
            assert (response.status_code, heading(response)) == (410, "This link has expired")
        assert signals() == []

    def test_the_run_is_over(self, client: Client, link: str) -> None:
        WorkflowRun.objects.get().cancel()
        for answer in (client.get, client.post):
            response = answer(link)
            assert (response.status_code, heading(response)) == (410, "There is nothing left to answer")
        assert signals() == []

    def test_the_run_ends_between_looking_and_sending(self, link: str) -> None:
        content = SignalLink.read(link.split("/")[-2])
        standing = content.stand()
        WorkflowRun.objects.get().cancel()
        assert _send(content, standing, 1) == OVER

    def test_the_run_is_not_there(self, client: Client, link: str) -> None:
        content = SignalLink.read(link.split("/")[-2])
        nobody = SignalLink(content.run_uid.__class__(int=1), content.name, content.id, content.until)
        response = client.post(path_of(nobody.url()))
        assert (response.status_code, heading(response)) == (404, "This link does not exist")

    def test_the_run_has_been_archived(self, client: Client, link: str, hookflow: Hookflow) -> None:
        client.post(link)
        hookflow.drive("run-1")
        hookflow.advance(40 * 86_400)
        call_command("cleanup_workflows", verbosity=0)
        assert not WorkflowRun.objects.exists()
        assert client.get(link).status_code == 410

    def test_too_large(self, client: Client, link: str, settings: Any) -> None:
        settings.DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE = 100
        for content_type in ("application/json", FORM):
            response = client.post(link, "1" * 101, content_type=content_type)
            assert response.status_code == 413
        settings.DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE, settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000, 100
        assert client.post(link, "1" * 101, content_type="application/json").status_code == 413
        assert signals() == []

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"{", "application/json"),
            (b"\xff", "application/json"),
            (b"NaN", "application/json"),
            (b"1e999", "application/json"),
            (b'"\\u0000"', "application/json"),
            (b'"\\ud800"', "application/json"),
            (b"[" * 100_000, "application/json"),
            (b"[" * 300 + b"]" * 300, "application/json"),
            (b"9" * 5000, "application/json"),
            (b"hello", "text/plain"),
            (b"a=%00", FORM),
            (b"&".join(b"a=1" for _ in range(2000)), FORM),
            (b"x", "multipart/form-data"),
            (b"x", "multipart/form-data; boundary=b"),
        ],
    )
    def test_malformed(self, client: Client, link: str, body: bytes, content_type: str) -> None:
        response = client.generic("POST", link, body, content_type=content_type, headers={"accept": "application/json"})
        if body == b"x" and "boundary" in content_type:
            assert response.status_code == 200, "to Django a form without a part is an empty one"
            return
        assert response.status_code == 400
        assert response.json()["status"] == "malformed"
        assert "Nothing has changed" in response.json()["error"]
        assert signals() == []

    def test_files(self, client: Client, link: str) -> None:
        assert client.post(link, {"file": io.BytesIO(b"x")}).status_code == 400

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
    def test_other_methods(self, client: Client, link: str, method: str) -> None:
        response = client.generic(method, link)
        assert (response.status_code, response["Allow"]) == (405, "GET, HEAD, POST")

    def test_without_the_log(self, client: Client, link: str, settings: Any) -> None:
        settings.DJANGO_HOOKFLOW_PERSISTENCE_ENABLED = False
        assert client.get(link).status_code == 404


class TestPage:
    @pytest.fixture(autouse=True)
    def _no_policy_of_the_project(self, settings: Any) -> None:
        settings.MIDDLEWARE = []

    def test_nobody_keeps_it(self, client: Client, link: str) -> None:
        for path in (link, "/hookflow/signal/x/"):
            response = client.get(path)
            assert response["Cache-Control"] == "no-store"
            assert response["Referrer-Policy"] == "no-referrer"
            assert response["X-Robots-Tag"] == "noindex, nofollow"
            assert response["X-Frame-Options"] == "DENY"
            assert response["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")

    def test_it_has_nothing_inline_and_no_script(self, client: Client, link: str) -> None:
        text = client.get(link).content.decode()
        assert "<script" not in text
        assert "style=" not in text
        assert "<style" not in text

    def test_programs_get_json(self, client: Client, link: str) -> None:
        headers = {"accept": "application/json"}
        assert client.get(link, headers=headers).json() == {"status": "open", "signal": "approval"}
        assert client.get("/hookflow/signal/x/", headers=headers).json()["status"] == "invalid"
        browser = {"accept": "text/html,application/json;q=0.9"}
        assert client.get(link, headers=browser)["Content-Type"].startswith("text/html")

    def test_static_files_from_elsewhere(self, client: Client, link: str, settings: Any) -> None:
        settings.STATIC_URL = "https://cdn.example.com/s/"
        response = client.get(link)
        assert b'href="https://cdn.example.com/s/django_hookflow/signal.css"' in response.content
        assert "style-src 'self' https://cdn.example.com;" in response["Content-Security-Policy"]

    @pytest.mark.parametrize("root", [None, "/nowhere"])
    def test_static_files_that_were_not_collected(
        self, client: Client, link: str, settings: Any, root: str | None
    ) -> None:
        settings.STATIC_ROOT = root
        name = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
        settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": name}}
        response = client.get(link)
        assert response.status_code == 200
        assert b"stylesheet" not in response.content

    def test_a_project_without_templates(self, client: Client, link: str, settings: Any) -> None:
        settings.TEMPLATES = []
        response = client.get(link)
        assert (response.status_code, heading(response)) == (200, "Please confirm")

    def test_a_template_of_the_project(self, client: Client, link: str, settings: Any, tmp_path: Any) -> None:
        directory = tmp_path / "django_hookflow"
        directory.mkdir()
        (directory / "signal.html").write_text("<h1>Ours: {{ reply.code }} {{ link.name }}</h1>")
        settings.TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [tmp_path]}]
        assert heading(client.get(link)) == "Ours: open approval"


class TestMaking:
    def test_it_is_the_same_in_every_replay(self, hookflow: Hookflow) -> None:
        passes: list[list[str]] = []

        @workflow(workflow_id="tests.links.replayed")
        def replayed(ctx: WorkflowContext) -> None:
            made = [ctx.signal_url("a"), ctx.signal_url("a"), ctx.signal_url("b")]
            passes.append(made)
            ctx.step.run("mail", lambda: made.append(ctx.signal_url("a")))
            made.append(ctx.signal_url("a"))
            ctx.step.sleep("pause", 60)
            made.append(ctx.signal_url("a", id="x"))
            made.append(ctx.signal_url("a", id="x"))

        hookflow.run(replayed)
        first, second = passes
        assert first[:3] == second[:3]
        assert len(set(first[:5])) == 5, "each is a link of its own, those made in a step, too"
        assert first[4] == second[3], "whether the step before is replayed makes no difference"
        assert second[4] == second[5]

    @pytest.mark.parametrize(
        ("expires", "seconds"),
        [(60, 60), (0.5, 0.5), (datetime.timedelta(minutes=2), 120)],
    )
    def test_how_long(self, expires: Any, seconds: float) -> None:
        now = timezone.now()
        assert end_of(expires, now) == now.timestamp() + seconds
        assert end_of(now, timezone.now()) == now.timestamp()

    @pytest.mark.parametrize(
        ("expires", "error"),
        [
            (10**400, ValueError),
            (0, ValueError),
            (-1, ValueError),
            (float("nan"), ValueError),
            (float("inf"), ValueError),
            (1e12, ValueError),
            (datetime.timedelta(0), ValueError),
            (datetime.datetime(2030, 1, 1), ValueError),  # noqa: DTZ001
            (True, TypeError),
            ("1h", TypeError),
            (None, TypeError),
            (datetime.date(2030, 1, 1), TypeError),
        ],
    )
    def test_what_is_no_time(self, expires: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="expires must be "):
            end_of(expires, timezone.now())

    def test_what_cannot_be_made(self, hookflow: Hookflow, settings: Any) -> None:
        raised: list[Exception] = []

        @workflow(workflow_id="tests.links.refused")
        def refused(ctx: WorkflowContext) -> None:
            for name, link_id in (("", None), ("a\0", None), ("a", "x" * 300)):
                try:
                    ctx.signal_url(name, id=link_id)
                except InvalidText as error:
                    raised.append(error)
            settings.DJANGO_HOOKFLOW_DOMAIN = None
            try:
                ctx.signal_url("a")
            except NotConfigured as error:
                raised.append(error)

        assert hookflow.run(refused).status == "completed"
        assert len(raised) == 4

    def test_without_the_log(self, settings: Any) -> None:
        settings.DJANGO_HOOKFLOW_PERSISTENCE_ENABLED = False

        @workflow(workflow_id="tests.links.stateless")
        def stateless(ctx: WorkflowContext) -> None:
            with pytest.raises(NeedsLog, match="ctx.signal_url needs the event log"):
                ctx.signal_url("a")

        with Hookflow() as kit:
            assert kit.run(stateless).status == "completed"
