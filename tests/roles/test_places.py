"""Where the log stands and who installs it: another schema, a DBA who is no superuser, and what cannot be made safe."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.e2e.database import Database
from tests.log.calls import append, claim, start, step
from tests.roles.dba import DBA, MIGRATIONS, ROLES

#: A name that has to be quoted wherever it is written.
SCHEMA = "Flow"
SEARCH_PATH = f'"{SCHEMA}"'


def in_schema(database: Database) -> Database:
    return Database(make_conninfo(database.conninfo, options=f"-c search_path={SEARCH_PATH}"))


def run_to_its_end(web: Database, run_id: str) -> None:
    with psycopg.connect(web.conninfo, autocommit=True) as session:
        run_uid = start(run_id, session=session)["run_uid"]
        assert claim(run_id, 1, session=session)[0]["answer"] == "run"
        append(run_uid, 2, step("a"), ("run.completed", None, {"result": 1}), ends_turn=True, session=session)


def test_another_schema(dba: DBA) -> None:
    guarded = dba.create_database()
    guarded.execute(f'CREATE SCHEMA "{SCHEMA}"')
    dba.apply(guarded, *MIGRATIONS, ROLES, schema=SEARCH_PATH)
    logins = dba.with_logins(guarded)
    run_to_its_end(in_schema(logins.web), "elsewhere")
    pinned = """
        SELECT DISTINCT (SELECT setting FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%%')
        FROM pg_proc WHERE prosecdef AND proname LIKE 'hookflow%%'"""
    assert guarded.rows(pinned) == [(f'search_path=pg_catalog, "{SCHEMA}", pg_temp',)]
    events = f'FROM "{SCHEMA}".django_hookflow_event'
    assert logins.web.value(f"SELECT count(*) {events}") == 4
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        logins.web.execute(f"DELETE {events}")


@pytest.fixture
def other(dba: DBA) -> Iterator[DBA]:
    """Another application on the same server, with groups of its own."""
    other = DBA(dba.server)
    other.prefix = f"Other_{dba.prefix}"
    yield other
    other.close()


def test_a_dba_who_is_no_superuser(other: DBA) -> None:
    """CREATEROLE and a schema of one's own are enough; and what is another application's stays closed."""
    database = other.create_database()
    installer = other.login("installer", database, attributes="CREATEROLE")
    login = other.role("installer")
    database.execute(f'CREATE SCHEMA "{SCHEMA}" AUTHORIZATION "{login}"')
    other.apply(installer, *MIGRATIONS, ROLES, schema=SEARCH_PATH)
    other.apply(installer, ROLES, schema=SEARCH_PATH)
    web = other.login("web", database)
    with pytest.raises(psycopg.errors.UndefinedFunction):
        run_to_its_end(in_schema(web), "too-soon")
    app, mine = other.role("app"), other.role("web")
    installer.execute(f'GRANT "{app}" TO "{mine}"')
    run_to_its_end(in_schema(web), "mine")
    assert in_schema(web).value("SELECT count(*) FROM django_hookflow_event") == 4


def test_a_schema_that_stays_open_to_all_is_not_called_safe(dba: DBA) -> None:
    """Whoever can create objects beside the log's could put them in front of them; better no roles than half of it."""
    guarded = dba.create_guarded()
    guarded.database.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    tried = dba.try_to_apply(guarded.deployer, ROLES)
    assert tried.returncode != 0
    assert "42501: hookflow: public can still create objects in the schema public" in tried.stderr
    assert "HINT:  Have the owner of the schema run: REVOKE CREATE ON SCHEMA public FROM public;" in tried.stderr


def test_without_a_log_it_says_where_it_looked(dba: DBA) -> None:
    tried = dba.try_to_apply(dba.create_database(), ROLES)
    assert "no table django_hookflow_event on the search_path (public)" in tried.stderr
    assert "HINT:  Apply the migrations first" in tried.stderr
