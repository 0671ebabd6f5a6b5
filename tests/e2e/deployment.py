"""The project in production: web processes and relays on a database, and what can be seen of it from outside."""

from __future__ import annotations

import http.client
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psutil

from django_hookflow.demo.processes import Child
from tests.e2e.database import Database
from tests.e2e.outside import Outside
from tests.e2e.project import Project
from tests.e2e.qstash_peer import CURRENT_KEY, NEXT_KEY, TOKEN, QStashPeer
from tests.waiting import wait_until


@dataclass(frozen=True)
class Web:
    """A web process, the port it listens at, and the name it has among PostgreSQL's sessions."""

    child: Child
    port: int
    name: str


class Deployment:
    """Made, nothing runs yet; closed, nothing runs any more, whatever state it was in."""

    def __init__(
        self, project: Project, database: Database, peer: QStashPeer, outside: Outside, logs: Path, **settings: Any
    ) -> None:
        self.project = project
        self.database = database
        self.peer = peer
        self.outside = outside
        self.logs = logs
        self.webs: list[Web] = []
        self._children: list[Child] = []
        self._environment = {
            **project.environment(),
            "SHOP_DATABASE": database.settings(),
            "SHOP_DATABASE_OPTIONS": json.dumps(settings.pop("DATABASE_OPTIONS", {})),
            "SHOP_SETTINGS": json.dumps(settings),
            "SHOP_OUTSIDE_URL": outside.url,
            "QSTASH_TOKEN": TOKEN,
            "QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY,
            "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY,
        }

    def close(self) -> None:
        for child in self._children:
            child.kill()

    def start_web(self) -> Web:
        """Starts a web process and tells the peer of it, as a load balancer would be told."""
        name = f"web-{len(self._children)}"
        told = self.logs / name
        child = self._spawn("-m", "tests.e2e.serve", str(told), PGAPPNAME=name)

        def port() -> int:
            assert child.is_running(), f"a web process did not start:\n{self.log()}"
            return int(told.read_text(encoding="ascii") or 0) if told.exists() else 0

        web = Web(child, wait_until(port, "the web process listens"), name)
        self.webs.append(web)
        self._tell_peer()
        return web

    def kill(self, web: Web) -> None:
        """kill -9. Returns when PostgreSQL has noticed: what was not committed is rolled back."""
        web.child.kill()
        self.webs.remove(web)
        self._tell_peer()
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
        wait_until(lambda: self.database.value(query, web.name) == 0, "the killed process's sessions are gone")

    def freeze(self, web: Web) -> None:
        """kill -STOP. Returns when the process stands: until then it may well run on, on a busy machine for long."""
        web.child.process.send_signal(signal.SIGSTOP)
        frozen = psutil.Process(web.child.pid)
        wait_until(lambda: frozen.status() == psutil.STATUS_STOPPED, "the process has stopped")

    def thaw(self, web: Web) -> None:
        web.child.process.send_signal(signal.SIGCONT)

    def start_relay(self) -> Child:
        return self._spawn("manage.py", "hookflow_relay")

    def manage(self, *arguments: str) -> CompletedProcess[str]:
        return self.project.manage(self._env(), *arguments)

    def sweep(self) -> int:
        """One pass of a relay: the number of messages it sent."""
        done = self.manage("hookflow_relay", "--once")
        assert done.returncode == 0, done.stderr
        return int(done.stdout.removeprefix("Done: ").removesuffix(" sent\n"))

    def start(
        self, workflow: str, data: dict[str, Any] | None = None, run_id: str | None = None, *, via: str = "start"
    ) -> str:
        """Has a view start one run and returns its id."""
        (started,) = self.start_all(workflow, [(run_id, data or {})], via=via)
        return started

    def start_all(
        self, workflow: str, runs: list[tuple[str | None, dict[str, Any]]], *, via: str = "start"
    ) -> list[str]:
        status, content = self.ask(workflow, runs, via=via)
        assert status == 200, (content, self.log())
        run_ids: list[str] = content["run_ids"]
        return run_ids

    def ask(
        self,
        workflow: str,
        runs: list[tuple[str | None, dict[str, Any]]],
        *,
        via: str = "start",
        web: Web | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer of a view that starts runs; status 0 when the process broke off."""
        connection = http.client.HTTPConnection("127.0.0.1", (web or self.webs[0]).port, timeout=60)
        try:
            connection.request("POST", f"/shop/{via}/", json.dumps({"workflow": workflow, "runs": runs}).encode())
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text.startswith(b"{") else {}
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()

    def advance(self, seconds: float) -> None:
        """Moves the database's clock, which alone decides what is due, overdue or expired."""
        self.database.execute(
            "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE "
            f"AS $$ SELECT clock_timestamp() + make_interval(secs => {seconds!r}) $$"
        )

    def status(self, run_id: str) -> str | None:
        rows = self.database.rows("SELECT status FROM django_hookflow_workflowrun WHERE run_id = %s", run_id)
        return rows[0][0] if rows else None

    def events(self, run_id: str) -> list[str]:
        """The types of a run's events in order, each with its step."""
        rows = self.database.rows(
            "SELECT e.type, e.step_id FROM django_hookflow_event e JOIN django_hookflow_head h USING (run_uid)"
            " WHERE h.run_id = %s ORDER BY e.seq",
            run_id,
        )
        return [f"{kind} {step}" if step else kind for kind, step in rows]

    def ledger(self, run_id: str) -> list[str]:
        """The steps that have written to the ledger for a run, once for each time they did."""
        rows = self.database.rows("SELECT step FROM shop_ledgerentry WHERE run_id = %s ORDER BY step", run_id)
        return [step for (step,) in rows]

    def count_completed(self) -> int:
        return int(self.database.value("SELECT count(*) FROM django_hookflow_workflowrun WHERE status = 'completed'"))

    def wait_for_completion(self, runs: int, timeout: float = 20) -> None:
        def all_completed() -> bool:
            return self.count_completed() == runs

        try:
            wait_until(all_completed, f"{runs} runs completed", timeout)
        except AssertionError:
            raise AssertionError(f"{self.count_completed()} of {runs} runs completed\n{self.log()}") from None

    def wait_until_disconnected(self) -> None:
        """Returns when no process of the project is connected to the database: nothing is under way any more."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        wait_until(lambda: self.database.value(query) == 0, "the last connection is closed")

    def log(self) -> str:
        """What the processes have said: warnings and worse."""
        return (self.logs / "log").read_text(encoding="utf-8", errors="replace")[-6000:]

    def _spawn(self, *arguments: str, **env: str) -> Child:
        with (self.logs / "log").open("ab") as log:
            child = Child(
                [sys.executable, *arguments],
                env={**self._env(), **env},
                cwd=self.project.directory,
                output=log,
                death_signal=signal.SIGKILL,  # one that is stopped would not hear another
            )
        self._children.append(child)
        return child

    def _env(self) -> dict[str, str]:
        return {**self._environment, "QSTASH_URL": self.peer.url}

    def _tell_peer(self) -> None:
        self.peer.courier.ports = [web.port for web in self.webs]
