"""The demo, as a newcomer runs it: the story ends well, and however it is stopped, nothing of it stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
import requests

from tests.demo.running import REPOSITORY, RunningDemo, alive
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

COMPLETED = '<td class="done">completed</td>'


def field(demo: RunningDemo, name: str) -> str:
    found = re.search(rf"^  {name} \.+ (\S.*)$", demo.output, re.MULTILINE)
    assert found, demo.output
    return found[1]


def test_the_story_runs_once_and_every_promise_holds() -> None:
    with RunningDemo("--check") as demo:
        demo.wait_for("restarted as")
        processes = demo.descendants()
        assert demo.wait() == 0, demo.output
    story = demo.output
    assert len(re.findall(r"^  ok   ", story, re.MULTILINE)) == 8
    assert "FAIL" not in story
    for event in ("run.triggered", "step.suspended", "turn.abandoned", "step.completed  charge", "run.completed"):
        assert event in story
    assert re.search(r"kill -9 \d+: the web process is killed", story)
    assert max(map(len, story.splitlines())) <= 80
    assert "\033" not in story, "colours are for terminals"
    assert alive(processes) == set()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_in_the_middle_it_leaves_no_process_behind(how: signal.Signals) -> None:
    with RunningDemo() as demo:
        demo.wait_for("step.suspended")
        processes = demo.descendants()
        assert len(alive(processes)) >= 4, "PostgreSQL with its own, the web process, the relay"
        demo.send(how)
        status = demo.wait()
        assert status == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[how], demo.output
        wait_until(lambda: not alive(processes), "all processes of the demo are gone")
    assert "Traceback" not in demo.output


def test_it_stays_up_with_a_shop_to_order_from_and_an_admin_to_log_in_to() -> None:
    with RunningDemo() as demo, requests.Session() as browser:
        demo.wait_for("login")
        shop, admin = field(demo, "shop").split()[0], field(demo, "admin")
        user, password = field(demo, "login").split(" / ")

        for told in (
            "order-2 .* sleeps for an hour",
            "parcel-3 .* in doubt",
            "order-4 .* failed",
            "order-5 .* replayed",
        ):
            assert re.search(told, demo.output)
        for told in ("welcome-6 .* diverged", "order-1 .* rewound to the step fulfil"):
            assert re.search(told, demo.output)
        link = re.findall(r"refund-7 .* waits for a decision: (\S+)", demo.output)[0]
        assert browser.get(link).text.count("<h1>Please confirm</h1>") == 1
        assert "<h1>Thank you</h1>" in browser.post(link, {"approved": "yes"}).text
        assert "<h1>This link has already been used</h1>" in browser.get(link).text
        for told in (
            "furnish-8 .* one of them after a retry",
            "furnish-8:parcel-.* child run, completed",
            "furnish-8:invoice-.* child run, waits for the payment",
            "parcel-9 .* starts in an hour",
            "couriers-10 .* asked three couriers in parallel",
        ):
            assert re.search(told, demo.output)
        assert "<td>order-1</td>" in browser.get(shop).text
        placed = browser.post(f"{shop}orders/", {"csrfmiddlewaretoken": browser.cookies["csrftoken"]})
        assert "<td>order-11</td>" in placed.text
        demo.wait_for('"parcel-11"')
        wait_until(lambda: browser.get(shop).text.count(COMPLETED) == 3, "it is completed")
        page = browser.get(shop).text
        assert page.count("<td>validate, wait-for-payment, charge, ledger, fulfil</td>") == 3
        assert page.count('<td class="number">1×</td>') == 3

        login = browser.get(admin)
        form = {"username": user, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        inside = browser.post(login.url, form, headers={"Referer": login.url})
        assert inside.status_code == 200
        for run_id in ("order-1", "order-2", "parcel-3", "order-4", "order-5", "welcome-6", "refund-7", "order-11"):
            assert run_id in inside.text
        assert browser.get(f"{shop}static/admin/css/base.css").status_code == 200

        demo.send(signal.SIGINT)
        assert demo.wait() == 130
        assert "Stopped. All processes have been shut down." in demo.output


def test_a_process_that_dies_by_itself_ends_the_demo_with_a_reason() -> None:
    with RunningDemo() as demo:
        relay = int(re.findall(r"pid (\d+)", demo.wait_for("relay"))[0])
        os.kill(relay, signal.SIGKILL)
        assert demo.wait() == 1
    assert "demo: the relay process exited with status -9; its output:" in demo.output


def test_the_command_line_explains_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "django_hookflow", "demo", "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert "--check" in shown.stdout
