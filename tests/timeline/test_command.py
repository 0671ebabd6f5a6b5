"""``hookflow_timeline``: whole texts, as they stand on a terminal of 80 columns."""

from __future__ import annotations

import datetime
import io
import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command

from django_hookflow.models import DeadLetterEntry, WorkflowRun
from tests.log.calls import append, ask, claim, start, step
from tests.timeline import shop
from tests.timeline.frozen import timeline
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.timeline.frozen import Stage

HOME = b"\x1b[H"
UNREACHABLE = ConnectionError("bank.example does not answer")


def lines_of(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


@pytest.mark.django_db
class TestWholeTexts:
    def test_a_run_that_sleeps(self, stage: Stage) -> None:
        shop.troubles.append(UNREACHABLE)
        stage.trigger(shop.order, "order-1", label="Order 4711", actor="ada")
        stage.pass_time(2)
        stage.deliver("order-1")
        stage.deliver("order-1", late=0.5)
        stage.pass_time(41)
        assert timeline("order-1") == SLEEPING

    def test_a_run_that_completed_with_its_events(self, stage: Stage) -> None:
        stage.trigger(shop.order, "order-1")
        stage.pass_time(2)
        stage.deliver("order-1")
        stage.drive("order-1", late=1)
        assert timeline("order-1", "--events") == COMPLETED

    def test_a_run_that_failed_was_replayed_and_rewound(self, stage: Stage) -> None:
        shop.troubles.extend([UNREACHABLE] * 3)
        run = stage.trigger(shop.order, "order-1", actor="ada")
        stage.drive("order-1")
        assert timeline("order-1") == FAILED
        stage.pass_time(3600)
        DeadLetterEntry.objects.get().replay(actor="ada", reason="the bank is back")
        stage.deliver("order-1")
        stage.pass_time(60)
        run.rewind(to_step="validate", actor="bob", reason="wrong address")
        stage.pass_time(10)
        run.pause(actor="bob")
        stage.pass_time(30)
        assert timeline("order-1") == REWOUND
        assert timeline("order-1", "--as-of", "13") == FAILED

    def test_a_run_whose_worker_was_lost(self, stage: Stage) -> None:
        stage.trigger(shop.asking, "order-1")
        stage.hookflow.crash("charge")
        stage.deliver("order-1")
        stage.pass_time(60)
        stage.deliver("order-1")
        stage.pass_time(20)
        assert timeline("order-1", "--events") == DOUBTED

    def test_a_run_of_thousands_of_steps(self, stage: Stage) -> None:
        uid = start("order-1")["run_uid"]
        stage.pass_time(1)
        claim("order-1", 1)
        for batch in range(10):
            stage.pass_time(1)
            append(uid, 2 + batch * 1000, *(step(f"step-{batch * 1000 + n}") for n in range(1000)))
        facts = {"kind": "run", "attempt": 1, "of": 1, "took": 0.5, "error": "shop.Declined"}
        append(uid, None, ("step.failed", "pay", {"message": "x " * 200, "traceback": ""}, facts))
        text = timeline("order-1")
        assert len(lines_of(text)) == 46
        assert "  … 9,971 more steps …" in lines_of(text)
        assert max(map(len, lines_of(text))) <= 80
        assert sum(line.startswith("✓ step-") for line in lines_of(text)) == 29


@pytest.mark.django_db
def test_other_programs_read_json(stage: Stage) -> None:
    stage.trigger(shop.order, "order-1", label="Order 4711")
    stage.deliver("order-1")
    story = json.loads(timeline("order-1", "--json"))
    assert [story[name] for name in ("run_id", "label", "status", "sentence", "current")] == [
        *("order-1", "Order 4711", "running", "Sleeping in wait-for-payment, wakes in 10 min.", "wait-for-payment")
    ]
    assert [(row["step_id"], row["state"]) for row in story["rows"]] == [
        *(("validate", "completed"), ("charge", "completed"), ("wait-for-payment", "sleeping"))
    ]
    assert [segment["kind"] for segment in story["life"]] == ["running", "sleeping"]
    assert story["start"] == "2026-05-01T12:00:00+00:00"


@pytest.mark.django_db
def test_as_of_a_time(stage: Stage) -> None:
    stage.trigger(shop.order, "order-1")
    stage.drive("order-1")
    assert "Sleeping in wait-for-payment, wakes in 9 min 2 s." in lines_of(
        timeline("order-1", "--as-of", "2026-05-01T12:01:00+00:00")
    )
    with pytest.raises(CommandError, match="run 'order-1' has 9 events, not 10"):
        timeline("order-1", "--as-of", "10")
    with pytest.raises(CommandError, match="run 'order-1' had not been triggered as of 2026-04-01"):
        timeline("order-1", "--as-of", "2026-04-01")
    with pytest.raises(
        CommandError,
        match=("'soon' is not an event number or a time: use a number such as 57, or a time such as 2026-01-31T12:00"),
    ):
        timeline("order-1", "--as-of", "soon")


@pytest.mark.django_db
def test_runs_that_are_not_there() -> None:
    with pytest.raises(CommandError, match="^no run has the ID 'order-9'$"):
        timeline("order-9")
    uid = start("order-1")["run_uid"]
    ask("UPDATE django_hookflow_head SET archived_at = '2026-05-01' WHERE run_uid = %s", uid)
    ask("DELETE FROM django_hookflow_event WHERE run_uid = %s", uid)
    for gone in (False, True):
        if gone:
            ask("DELETE FROM django_hookflow_workflowrun WHERE id = %s", uid)
        with pytest.raises(CommandError) as refusal:
            timeline("order-1")
        assert str(refusal.value) == (
            "run 'order-1' was archived on 2026-05-01 with 1 event. If they were archived to a file, "
            "hookflow_archive show FILE --run order-1 prints them"
        )
    uid = start("order-2")["run_uid"]
    ask("DELETE FROM django_hookflow_workflowrun WHERE id = %s", uid)
    with pytest.raises(CommandError, match="To rebuild them from the log: hookflow_rebuild --run order-2"):
        timeline("order-2")


@pytest.mark.django_db
def test_colour_where_it_is_wanted_and_nowhere_else(stage: Stage) -> None:
    stage.trigger(shop.order, "order-1")
    stage.deliver("order-1")
    plain = timeline("order-1")
    assert "\x1b" not in plain
    coloured = timeline("order-1", force_color=True)
    assert "\x1b[32m✓\x1b[0m validate" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain


@pytest.mark.django_db
def test_nothing_a_run_holds_moves_the_cursor(stage: Stage) -> None:
    shop.troubles.append(ValueError("\x1b[2J\x1b]0;gotcha\x07 no\nsuch card \u202e\x9b2J"))
    stage.trigger(shop.order, "order-1")
    stage.drive("order-1")
    text = timeline("order-1", "--events")
    assert [character for character in text if not character.isprintable() and character != "\n"] == []
    assert "  ValueError: [2J ]0;gotcha no" in lines_of(text)
    assert timeline("order-1", "--json").isascii()  # some terminals take \\x9b for the beginning of a command


@pytest.mark.django_db
@pytest.mark.parametrize("option", ["--events", "--json"])
def test_an_output_that_cannot_hold_what_a_run_holds(stage: Stage, option: str) -> None:
    shop.troubles.append(ValueError("zu wenig für das Päckchen"))
    stage.trigger(shop.order, "größe-1", label="小包", actor="Zoë")
    stage.drive("größe-1")
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    call_command("hookflow_timeline", "größe-1", option, stdout=out)
    out.flush()
    assert (b"ValueError: zu wenig f?r das P?ckchen" in raw.getvalue()) == (option == "--events")
    if option == "--json":
        assert json.loads(raw.getvalue())["label"] == "小包"
    else:
        assert b"label     ??" in raw.getvalue()


@pytest.mark.django_db
def test_an_output_without_such_characters_has_others(stage: Stage) -> None:
    stage.trigger(shop.order, "order-1")
    stage.deliver("order-1")
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    call_command("hookflow_timeline", "order-1", "--events", stdout=out)
    out.flush()
    assert b"+ validate         ###" in raw.getvalue()


def spawn(environment: dict[str, str], *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "django", "hookflow_timeline", *arguments]
    return subprocess.Popen(command, env=environment, **options)


@pytest.mark.django_db(transaction=True)
class TestFollow:
    def test_it_is_shown_again_as_it_changes_until_its_end(self, process_environment: dict[str, str]) -> None:
        uid = start("order-1")["run_uid"]
        process = spawn(process_environment, "order-1", "--follow", "--json", stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["last_seq"] == 1
            append(uid, 1, ("turn.started", None, None, {"worker": "w"}), step("validate"))
            assert json.loads(process.stdout.readline())["last_seq"] == 3
            append(uid, 3, ("run.completed", None, {"result": None}), ends_turn=True)
            assert json.loads(process.stdout.readline())["status"] == "completed"
            assert (process.stdout.read(), process.wait(20)) == (b"", 0)
        finally:
            process.kill()
            process.communicate()

    def test_a_picture_that_is_drawn_over_is_no_higher_than_the_terminal(
        self, process_environment: dict[str, str]
    ) -> None:
        uid = start("order-1")["run_uid"]
        claim("order-1", 1)
        append(uid, 2, *[step(f"step-{number}") for number in range(30)])
        ours, theirs = pty.openpty()
        environment = {**process_environment, "COLUMNS": "100", "LINES": "20", "NO_COLOR": "1"}
        process = spawn(environment, "order-1", "--follow", stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = b""
        try:
            while seen.count(HOME) < 2:
                seen += os.read(ours, 100_000)
            picture = seen.split(HOME)[1].decode()
            assert picture.count("\n") == 19
            assert all(words in picture for words in ("order-1  running", "step-0", "lines …)", "step-29"))
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    def test_a_picture_is_drawn_over_on_a_terminal_and_ctrl_c_ends_it(
        self, process_environment: dict[str, str]
    ) -> None:
        uid = start("order-1")["run_uid"]
        ours, theirs = pty.openpty()
        environment = {**process_environment, "COLUMNS": "100", "NO_COLOR": "1"}
        process = spawn(
            environment, "order-1", "--follow", stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        seen: list[str] = []
        os.set_blocking(ours, False)

        def has_seen(text: str) -> bool:
            try:
                seen.append(os.read(ours, 100_000).decode(errors="replace"))
            except (BlockingIOError, OSError):
                pass
            return text in "".join(seen)

        try:
            wait_until(lambda: has_seen("Waiting for its first delivery"), "the first picture")
            claim("order-1", 1)
            append(uid, 2, step("validate"))
            wait_until(lambda: has_seen("Running the code after step validate on worker worker"), "the next one")
            process.send_signal(2)
            assert process.wait(20) == 0
            has_seen("")
            assert "".join(seen).startswith("\x1b[H\x1b[Jorder-1  pending\x1b[K")
            assert "Traceback" not in "".join(seen)
        finally:
            process.kill()
            process.wait()
            os.close(ours)


@pytest.mark.django_db
def test_the_run_of_a_moment_ago_is_not_asked_for_what_it_holds(stage: Stage, django_assert_num_queries: Any) -> None:
    stage.trigger(shop.order, "order-1")
    stage.drive("order-1")
    with django_assert_num_queries(5):  # its row, events, present, status, and the runs it has started
        timeline("order-1")
    assert WorkflowRun.objects.get().created_at == datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.timezone.utc)


SLEEPING = """\
order-1  running
workflow  tests.timeline.order
label     Order 4711
began     2026-05-01 12:00:00 UTC by ada

Sleeping in wait-for-payment, wakes in 9 min 19 s.

                   0 s                                     52.9 s
  the run          ······█████████~~~~~~~~~~~~~~~~~··███████──//─        52.9 s
✓ validate               ██                                              400 ms
✓ charge                   ███████~~~~~~~~~~~~~~~~~~~███████             4 s x2
─ wait-for-payment                                         ───//─          41 s
  █ running  ─ sleeping  ~ until retry  · waiting  // collapsed

charge (a later attempt completed)
  ConnectionError: bank.example does not answer
  at tests/timeline/shop.py:19 in charge
"""
COMPLETED = """\
order-1  completed
workflow  tests.timeline.order
began     2026-05-01 12:00:00 UTC
ended     2026-05-01 12:10:08 UTC

Completed in 10 min 8 s, 4 steps.

                   0 s                   10 min 1 s    10 min 8 s
  the run          ···········█████████████──//─█████████████████    10 min 8 s
✓ validate                    ██                                         400 ms
✓ charge                        ███████████                                 2 s
✓ wait-for-payment                         ──//─                     10 min 1 s
✓ ship                                          █████████████████           3 s
  █ running  ─ sleeping  · waiting  // collapsed

#1     +0 s           run.triggered    order-1
#2     +2 s           turn.started     on web-1:42
#3     +2.4 s         step.completed   validate run, attempt 1, took 400 ms
#4     +4.4 s         step.completed   charge run, attempt 1, took 2 s
#5     +4.4 s         step.suspended   wait-for-payment sleep, attempt 1, for 1…
#6     +10 min 5 s    step.completed   wait-for-payment sleep, attempt 1, took …
#7     +10 min 5 s    turn.started     on web-1:42
#8     +10 min 8 s    step.completed   ship atomic, attempt 1, took 3 s
#9     +10 min 8 s    run.completed
"""
FAILED = """\
order-1  failed
workflow  tests.timeline.order
began     2026-05-01 12:00:00 UTC by ada
ended     2026-05-01 12:00:31 UTC

Failed at charge, attempt 3 of 3, in the dead letters.

           0 s                                      20 s   31.4 s
  the run  ██████████~~~~~~~~~~~~~~~~~~~~~█████████~~//~█████████        31.4 s
✓ validate ██                                                            400 ms
✗ charge    █████████~~~~~~~~~~~~~~~~~~~~~█████████~~//~█████████        6 s x3
  █ running  ~ until retry  // collapsed

charge
  ConnectionError: bank.example does not answer
  at tests/timeline/shop.py:19 in charge
"""
REWOUND = """\
order-1  paused
workflow  tests.timeline.order
began     2026-05-01 12:00:00 UTC by ada

Paused by bob; continues when it is resumed.

                     0 s                   20 s         1 h 2 min
  the run            █████~~~~~~~~~~~█████~~//█████!!//█████──//=     1 h 2 min
✓ (validate)         █                                                   400 ms
✗ (charge)           █████~~~~~~~~~~~█████~~//█████                      6 s x3
✓ (charge)                                             █████                2 s
─ (wait-for-payment)                                        ───           1 min
  █ running  ─ sleeping  ~ until retry  · waiting  = paused  ! stopped
  // collapsed
"""
DOUBTED = """\
order-1  in doubt
workflow  tests.timeline.asking
began     2026-05-01 12:00:00 UTC

In doubt about charge: it was started and may or may not have finished; resolve
it to continue.

           0 s                                         1 min 22 s
  the run  █╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳█!!!!!!!!!!!!!    1 min 22 s
✓ validate █                                                             400 ms
? charge   ╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳╳!!!!!!!!!!!!!     1 min 2 s
  █ running  ╳ lost  ! stopped

#1     +0 s           run.triggered    order-1
#2     +0 s           turn.started     on web-1:42
#3     +400 ms        step.completed   validate run, attempt 1, took 400 ms
#4     +400 ms        step.intended    charge run, attempt 1 of 4
#5     +1 min 2 s     turn.abandoned   of #2
#6     +1 min 2 s     turn.started     on web-1:42
#7     +1 min 2 s     step.suspended   charge doubt, attempt 1
"""
