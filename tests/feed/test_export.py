"""``manage.py hookflow_export``: lines of JSON, those there are and those to come."""

from __future__ import annotations

import datetime
import io
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tests.environments.servers import running_server
from tests.feed.processes import finish, run, running
from tests.feed.reading import add, last_position, new_run, open_transaction
from tests.log.calls import append, ask, log_of, start
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def export(*arguments: str, **options: Any) -> list[dict[str, Any]]:
    output = io.StringIO()
    call_command("hookflow_export", *arguments, stdout=output, **options)
    return [json.loads(line) for line in output.getvalue().splitlines()]


def raw_append(uid: Any, type_: str, facts: str, payload: str) -> None:
    call = "SELECT hookflow_append(%s, NULL, ARRAY[%s], ARRAY[NULL::text], ARRAY[%s]::json[], ARRAY[%s]::json[], NULL)"
    ask(call, uid, type_, facts, payload)


def test_a_line_an_event() -> None:
    uid = start("größe-1", {"n": 1})["run_uid"]
    append(uid, None, ("step.completed", "a", {"result": [1, None, "é"]}, {"kind": "run", "took": 0.5}), actor="ada")
    first, second = export()
    stored = log_of(uid)[1]
    assert first["facts"] == {"run_id": "größe-1", "workflow": "shop.order"}
    assert first["payload"] == {"data": {"n": 1}}
    assert second == {
        "position": stored["position"],
        "run_id": "größe-1",
        "run_uid": str(uid),
        "workflow_id": "shop.order",
        "seq": 2,
        "type": "step.completed",
        "step_id": "a",
        "actor": "ada",
        "recorded_at": stored["recorded_at"].astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "redacted": False,
        "hash": stored["hash"].hex(),
        "facts": {"kind": "run", "took": 0.5},
        "payload": {"result": [1, None, "é"]},
    }


def test_facts_and_payload_are_copied_to_the_letter_and_stay_on_their_line() -> None:
    uid = new_run()
    text = '{"z": 1.10,\n "a": 12345678901234567890123,\r\n "e": 1e400, "z2": "line\\nbreak"}'
    raw_append(uid, "a.type.of.tomorrow", text, text)
    output = io.StringIO()
    call_command("hookflow_export", stdout=output)
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    on_one_line = text.replace("\n", " ").replace("\r", " ")
    assert lines[1].endswith(f',"facts":{on_one_line},"payload":{on_one_line}}}')
    append(uid, None, ("run.completed", None, None))
    assert export()[2]["payload"] is None


def test_a_redacted_payload_is_null_or_what_was_retained() -> None:
    uid = start("order-1", {"name": "Ada", "n": 1})["run_uid"]
    append(uid, None, ("step.completed", "a", {"result": "secret"}, {"kind": "run"}), ("run.completed", None, {}))
    ask("SELECT hookflow_redact(%s, 1, ARRAY['data', 'name'], 'asked for', 'dpo')", uid)
    ask("SELECT hookflow_redact(%s, 2, NULL, 'asked for', 'dpo')", uid)
    lines = export()
    assert "Ada" not in json.dumps(lines)
    assert [event["redacted"] for event in lines[:3]] == [True, True, False]
    assert lines[0]["payload"]["data"] == {"name": "[redacted]", "n": 1}
    assert (lines[1]["facts"], lines[1]["payload"]) == ({"kind": "run"}, None)
    assert [event["type"] for event in lines[3:]] == ["event.redacted", "event.retained", "event.redacted"]
    redacted = export("--format", "cloudevents")[1]
    assert (redacted["redacted"], redacted["data"]) == (True, {"facts": {"kind": "run"}, "payload": None})


def test_since_a_position_and_since_a_date(settings: Any) -> None:
    uid = new_run()
    position = last_position()
    add(uid, "a")
    append(uid, None, ("run.completed", None, {}))
    assert [event["seq"] for event in export("--since", str(position))] == [2, 3]
    (moment,) = ask("SELECT recorded_at FROM django_hookflow_event WHERE run_uid = %s AND seq = 2", uid)
    since = moment["recorded_at"].isoformat()
    assert [event["seq"] for event in export("--since", since)] == [2, 3]
    day = moment["recorded_at"].date()
    assert len(export("--since", day.isoformat())) == 3
    assert export("--since", (day + datetime.timedelta(days=2)).isoformat()) == []
    assert [event["seq"] for event in export("--run", f"run-{uid}", "--since", str(position))] == [2, 3]
    settings.TIME_ZONE = "Asia/Tokyo"
    naive = moment["recorded_at"].astimezone(datetime.timezone(datetime.timedelta(hours=9))).replace(tzinfo=None)
    assert [event["seq"] for event in export("--since", naive.isoformat())] == [2, 3]
    with pytest.raises(CommandError, match="--since 'yesterday' is not a position or a date: use a number, or"):
        export("--since", "yesterday")
    with pytest.raises(CommandError, match="is not a position or a date"):
        export("--since", "2026-13-45")


def test_one_run_and_some_types() -> None:
    uid, other = new_run("order-1"), new_run()
    add(uid, "a", "b")
    add(other, "c")
    assert [event["step_id"] for event in export("--run", "order-1")] == [None, "a", "b"]
    assert [event["step_id"] for event in export("--type", "step.completed")] == ["a", "b", "c"]
    assert [
        event["seq"] for event in export("--type", "run.triggered", "--type", "run.failed", "--run", "order-1")
    ] == [1]
    with pytest.raises(CommandError, match="no run has the ID 'order-2'"):
        export("--run", "order-2")
    with connection.cursor() as c:
        c.execute("UPDATE django_hookflow_head SET archived_at = now() WHERE run_id = 'order-1'")
    with pytest.raises(CommandError, match="'order-1' has been archived: its events are in the archive file"):
        export("--run", "order-1")


def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    add(new_run("größe"), "a")
    path = tmp_path / "events.jsonl"
    assert export("--output", str(path)) == []
    assert [json.loads(line)["run_id"] for line in path.read_text(encoding="utf-8").splitlines()] == ["größe"] * 2
    with pytest.raises(CommandError, match="already exists: choose another name or remove it"):
        export("--output", str(path))


def test_a_file_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "events.jsonl"
    with pytest.raises(CommandError, match=f"^{path}: No such file or directory$"):
        export("--output", str(path))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_reported(process_environment: dict[str, str]) -> None:
    add(new_run(), "a")
    with (
        Path("/dev/full").open("wb") as output,
        running(process_environment, "hookflow_export", stdout=output) as process,
    ):
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.strip().splitlines() == ["CommandError: standard output: No space left on device"]


# CloudEvents 1.0, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, and its JSON format.
CONTEXT_ATTRIBUTES = {"id", "source", "specversion", "type", "datacontenttype", "dataschema", "subject", "time"}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
URI_REFERENCE = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


def assert_is_cloudevent(event: dict[str, Any]) -> None:
    assert event["specversion"] == "1.0"
    for required in ("id", "source", "type"):
        assert isinstance(event[required], str)
        assert event[required]
    assert URI_REFERENCE.fullmatch(event["source"])
    assert RFC3339.fullmatch(event["time"])
    assert event.get("subject", "non-empty") != ""
    assert event["datacontenttype"] == "application/json"
    for name in event.keys() - {"data"}:
        assert re.fullmatch("[a-z0-9]{1,20}", name), name
    for name in event.keys() - CONTEXT_ATTRIBUTES - {"data"}:
        value = event[name]
        assert isinstance(value, (bool, int, str)), name
        assert value != "", name
        assert isinstance(value, (bool, str)) or -(2**31) <= value < 2**31, name
    assert "data_base64" not in event


def test_cloudevents(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = "https://shop.example"
    uid = new_run("order 1/é")
    append(uid, None, ("step.completed", "a", {"result": 1}, {"kind": "run"}), actor="ada")
    append(uid, None, ("run.completed", None, None))
    lines = export("--format", "cloudevents")
    for event in lines:
        assert_is_cloudevent(event)
    assert lines[1] == {
        "specversion": "1.0",
        "id": f"{uid}/2",
        "source": "https://shop.example/hookflow/workflow/shop.order/",
        "type": "django_hookflow.step.completed",
        "subject": "order 1/é",
        "time": lines[1]["time"],
        "datacontenttype": "application/json",
        "position": str(log_of(uid)[1]["position"]),
        "seq": 2,
        "stepid": "a",
        "actor": "ada",
        "data": {"facts": {"kind": "run"}, "payload": {"result": 1}},
    }
    settings.DJANGO_HOOKFLOW_DOMAIN = None
    event = export("--format", "cloudevents")[2]
    assert_is_cloudevent(event)
    assert (event["source"], event["data"]) == ("/hookflow/workflow/shop.order/", {"facts": {}, "payload": None})


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_follow_writes_each_event_as_it_is_committed(
    process_environment: dict[str, str], ending: signal.Signals, tmp_path: Path
) -> None:
    a, b = new_run(), new_run()
    path = tmp_path / "events"
    with path.open("w") as output:
        command = ("hookflow_export", "--follow", "--since", str(last_position()))
        with running(process_environment, *command, stdout=output) as process, open_transaction() as slow:

            def written() -> list[str]:
                return [json.loads(line)["step_id"] for line in path.read_text(encoding="utf-8").splitlines()]

            add(b, "b1")
            wait_until(lambda: written() == ["b1"], "b1 is written")
            add(a, "a1", within=slow)
            add(b, "b2")
            wait_until(lambda: written() == ["b1", "b2"], "b2 is written")
            slow.commit()
            wait_until(lambda: written() == ["b1", "b2", "a1"], "a1 is written")
            process.send_signal(ending)
            code, _, errors = finish(process)
    assert (code, errors) == (0, "")


def test_follow_of_one_run(process_environment: dict[str, str]) -> None:
    uid = new_run("order-1")
    with running(process_environment, "hookflow_export", "--follow", "--run", "order-1") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["seq"] == 1
        add(uid, "a")
        assert json.loads(process.stdout.readline())["step_id"] == "a"
        process.send_signal(signal.SIGTERM)
        assert finish(process) == (0, "", "")


def test_follow_ends_when_nobody_reads_any_more(process_environment: dict[str, str]) -> None:
    """With nothing new to write, so that it has to notice by itself."""
    new_run()
    with running(process_environment, "hookflow_export", "--follow") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stdout = None


def test_a_closed_pipe_in_mid_export_is_no_error(process_environment: dict[str, str]) -> None:
    uid = new_run()
    add(uid, *(f"step {number} {'x' * 100}" for number in range(2_000)))
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as output, running(process_environment, "hookflow_export", stdout=output) as process:
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


A_STANDBY = (
    "CommandError: the log's database is a standby, where open transactions are not visible and events could be "
    "skipped: read from the primary"
)


def test_a_standby_is_refused(process_environment: dict[str, str]) -> None:
    with running_server() as server:
        environment = {**process_environment, "DATABASE_URL": server.url}
        assert run(environment, "migrate", "--verbosity", "0")[0] == 0
        server.stop()
        (server._postgres.data / "standby.signal").touch()  # type: ignore[operator]
        server.start()
        for command in ("hookflow_export",), ("hookflow_subscribers", "--once"), ("hookflow_subscribers", "--list"):
            code, output, errors = run(environment, *command)
            assert (code, output, errors.strip().splitlines()) == (1, "", [A_STANDBY]), command
        with running(environment, "hookflow_subscribers") as process:
            assert process.stderr is not None
            assert process.stderr.readline() == f"the database is unavailable, next attempt in 2 s: {A_STANDBY[14:]}\n"
            process.send_signal(signal.SIGTERM)
            assert finish(process)[0] == 0
