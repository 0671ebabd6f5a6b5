"""The project's processes on one database: web servers, relays, and what can be seen of them from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django_hookflow.delivery.signature import sign
from django_hookflow.demo.processes import Child
from tests.e2e.courier import post
from tests.e2e.database import Database
from tests.e2e.qstash_peer import CURRENT_KEY
from tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
WORKSHOP = "tests.environments.workshop"
ENDED = ("completed", "failed", "cancelled", "diverged")


@dataclass(frozen=True)
class Web:
    """A web server's process and the port it listens at. ``told`` is where it has written that port."""

    child: Child
    port: int
    told: Path


@dataclass(frozen=True)
class Answer:
    """To a delivery; status None when the connection broke off."""

    status: int | None
    content: dict[str, Any]
    headers: dict[str, str]

    @property
    def short(self) -> tuple[int | None, str]:
        return self.status, self.content.get("status") or self.content.get("error", "")


class Fleet:
    """Nothing runs at first. After :meth:`close` nothing runs any more, whatever state it was in.

    ``database`` is as the test sees it; ``entry`` is what the project has in its DATABASES over that.
    """

    def __init__(
        self, database: Database, outside_url: str, logs: Path, entry: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> None:
        self.database = database
        self.logs = logs
        self.entry = {**json.loads(database.settings()), **entry}
        self.settings = dict(settings)
        self._outside_url = outside_url
        self._children: list[Child] = []
        self._pool = ThreadPoolExecutor(32)

    def close(self) -> None:
        for child in self._children:
            # Each is the first of a session of its own, to which the workers of a web server belong.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
        self._pool.shutdown()

    def start_wsgi(self, *, threads: int = 4, environment: Mapping[str, str] | None = None) -> Web:
        """gunicorn with one worker."""
        command = ["gunicorn", "--config", f"python:{WORKSHOP}.gunicorn_hooks", "--threads", str(threads)]
        return self._start_web(*command, f"{WORKSHOP}.wsgi", environment=environment)

    def start_asgi(self) -> Web:
        """uvicorn."""
        return self._start_web(f"{WORKSHOP}.asgi", "{told}")

    def start_relay(
        self, *arguments: str, to: Web | None = None, environment: Mapping[str, str] | None = None
    ) -> Child:
        """A relay, which POSTs to ``to`` if that is its transport."""
        settings = {"DJANGO_HOOKFLOW_DOMAIN": f"http://127.0.0.1:{to.port}"} if to else {}
        return self._spawn("django", "hookflow_relay", *arguments, settings=settings, environment=environment)

    def run(self, *arguments: str) -> str:
        """What a module of the project or of Django prints. It must exit with 0."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self._environment(),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def start(self, workflow: str, *run_ids: str, **data: Any) -> None:
        outcomes = json.loads(self.run(f"{WORKSHOP}.start", workflow, json.dumps(data), *run_ids))
        assert outcomes == [["started", run_id] for run_id in run_ids]

    def deliver(self, web: Web, workflow: str, run_id: str, seq: int = 1) -> Answer:
        """Delivers once, now."""
        path = f"/hookflow/workflow/{workflow}/"
        body = json.dumps({"workflow_id": workflow, "run_id": run_id, "seq": seq}).encode()
        token = sign(body, f"http://127.0.0.1:{web.port}{path}", key=CURRENT_KEY)
        headers = {"Content-Type": "application/json", "Upstash-Signature": token, "Upstash-Message-Id": "msg_1"}
        status, answer, received = post(web.port, path, body, headers)
        return Answer(status, json.loads(answer) if answer.startswith(b"{") else {}, received)

    def begin_delivery(self, web: Web, workflow: str, run_id: str, seq: int = 1) -> Future[Answer]:
        """Delivers in a thread of its own."""
        return self._pool.submit(self.deliver, web, workflow, run_id, seq)

    def tell(self, web: Web) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
        try:
            connection.request("GET", "/tell/")
            told: dict[str, Any] = json.loads(connection.getresponse().read())
            return told
        finally:
            connection.close()

    def announced_seq(self, run_id: str) -> int:
        return int(self._of_run("SELECT o.seq FROM django_hookflow_outbox o JOIN django_hookflow_head h", run_id)[0][0])

    def events(self, run_id: str) -> list[str]:
        """The types of a run's events in order, each with its step."""
        query = "SELECT o.type, o.step_id FROM django_hookflow_event o JOIN django_hookflow_head h"
        return [f"{kind} {step}" if step else kind for kind, step in self._of_run(query, run_id, "ORDER BY o.seq")]

    def ledger(self, run_id: str) -> list[str]:
        """The steps that have written to the ledger for a run, once for each time they did."""
        rows = self.database.rows("SELECT reference FROM testapp_ledgerentry WHERE account = %s ORDER BY id", run_id)
        return [step for (step,) in rows]

    def status(self, run_id: str) -> str:
        query = "SELECT status FROM django_hookflow_workflowrun WHERE run_id = %s"
        return str(self.database.value(query, run_id))

    def wait_for_status(self, status: str, *run_ids: str, timeout: float = 30) -> None:
        try:
            wait_until(lambda: {self.status(run_id) for run_id in run_ids} == {status}, f"all are {status}", timeout)
        except AssertionError as error:
            story = {run_id: self.events(run_id) for run_id in run_ids if self.status(run_id) != status}
            raise AssertionError(f"{error}\n{story}\n{self.log()}") from None

    def wait_until_disconnected(self) -> None:
        """Returns when no process is connected to the database any more."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        wait_until(lambda: self.database.value(query) == 0, f"the last connection is closed\n{self.log()}")

    def advance(self, seconds: float) -> None:
        """Moves the database's clock."""
        self.database.execute(
            "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE "
            f"AS $$ SELECT clock_timestamp() + make_interval(secs => {seconds!r}) $$"
        )

    def log(self) -> str:
        """What the processes have said: warnings and worse."""
        path = self.logs / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def check(self) -> None:
        """Every log without a gap, the projections what the logs say, nothing announced for a run that has ended."""
        broken = self.database.rows(
            "SELECT h.run_id FROM django_hookflow_head h LEFT JOIN django_hookflow_event e USING (run_uid)"
            " GROUP BY h.run_uid HAVING count(*) <> h.last_seq OR count(DISTINCT e.seq) <> h.last_seq"
            " OR min(e.seq) <> 1 OR max(e.seq) <> h.last_seq"
        )
        assert broken == []
        assert "no differences" in self.run("django", "hookflow_rebuild", "--check")
        ended = "SELECT run_uid FROM django_hookflow_workflowrun WHERE status = ANY(%s)"
        left = self.database.rows(f"SELECT * FROM django_hookflow_outbox WHERE run_uid IN ({ended})", list(ENDED))
        assert left == []

    def _of_run(self, select: str, run_id: str, order: str = "") -> Sequence[tuple[Any, ...]]:
        return self.database.rows(f"{select} USING (run_uid) WHERE h.run_id = %s {order}", run_id)

    def _start_web(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Web:
        told = self.logs / f"port-{len(self._children)}"
        command = [argument.format(told=told) for argument in arguments]
        child = self._spawn(*command, environment={**(environment or {}), "WORKSHOP_PORT_FILE": str(told)})

        def port() -> int:
            assert child.is_running(), f"a web server did not start:\n{self.log()}"
            return int(told.read_text(encoding="ascii") or 0) if told.exists() else 0

        return Web(child, wait_until(port, "the web server listens"), told)

    def _spawn(
        self,
        *arguments: str,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        with (self.logs / "log").open("ab") as log:
            child = Child(
                [sys.executable, "-m", *arguments],
                env={**self._environment(settings), **(environment or {})},
                cwd=REPOSITORY,
                output=log,
            )
        self._children.append(child)
        return child

    def _environment(self, settings: Mapping[str, Any] | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "DATABASE_"))}
        return {
            **kept,
            "DJANGO_SETTINGS_MODULE": f"{WORKSHOP}.settings",
            "WORKSHOP_DATABASE": json.dumps(self.entry),
            "WORKSHOP_SETTINGS": json.dumps({**self.settings, **(settings or {})}),
            "WORKSHOP_OUTSIDE_URL": self._outside_url,
        }
