"""The doctor with the credentials of each kind of login: all may look, and only the confined one is told so."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.doctor.diagnosis import run_process
from tests.roles.dba import DBA, Guarded


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    server = os.environ["DATABASE_URL"]
    with psycopg.connect(server) as session:
        if session.execute("SHOW is_superuser").fetchone() != ("on",):
            pytest.skip("the login of DATABASE_URL is no superuser: it cannot make roles and databases as a DBA does")
    dba = DBA(server)
    try:
        yield dba.create_guarded()
    finally:
        dba.close()


@pytest.mark.parametrize(("login", "is_confined"), [("web", True), ("analyst", True), ("deployer", False)])
def test_what_each_login_is_told(guarded: Guarded, tmp_path: Path, login: str, is_confined: bool) -> None:
    database = getattr(guarded, login).settings()
    done = run_process(
        "--json",
        "--offline",
        folder=tmp_path,
        environment=dict(os.environ),
        settings=f"import json; DJANGO_HOOKFLOW_DOMAIN = 'https://my-app.com'; DATABASES = {{'default': json.loads({database!r})}}",
    )
    findings = json.loads(done.stdout)["findings"]
    assert (done.returncode, done.stderr) == (0, "")
    roles = [finding["code"] for finding in findings if finding["area"] == "roles"]
    assert roles == ["django_hookflow.I030", *([] if is_confined else ["django_hookflow.W030"])]
    others = {f["code"]: f["level"] for f in findings if f["area"] != "roles" and f["level"] != "ok"}
    unseen = {"schema.migrations_not_readable": "info"} if login == "analyst" else {}
    assert others == {"django_hookflow.W011": "warning", "checkpoints.none": "info", **unseen}
