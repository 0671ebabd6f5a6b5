"""A DBA with psql: makes databases from ``migrations_sql``, gives them roles, makes logins, and cleans up afterwards."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import migrations_sql
from tests.e2e.database import Database
from tests.log.calls import find_psql

FOLDER = Path(migrations_sql.__file__).parent
MIGRATIONS = sorted(FOLDER.glob("0*.sql"))
ROLES = FOLDER / "roles.sql"
_NUMBERS = count(1)


@dataclass(frozen=True)
class Guarded:
    """A database with roles, as the superuser sees it, and as each login does."""

    database: Database
    web: Database
    analyst: Database
    officer: Database
    deployer: Database


class DBA:
    """Knows the server by the URL of a superuser. ``prefix`` is that of the group roles."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.prefix = f"hookflow_{os.getpid()}_{next(_NUMBERS)}"  # roles are the whole server's, and there may be two
        self._exits = ExitStack()
        self._logins: list[str] = []

    def role(self, group: str) -> str:
        return f"{self.prefix}_{group}"

    def create_database(self) -> Database:
        """An empty one, gone when the DBA goes."""
        database = Database.create(self.server)
        self._exits.callback(database.drop, self.server)
        return database

    def create_guarded(self, files: list[Path] | None = None) -> Guarded:
        """A database made by psql as a whole: schema, roles, logins."""
        database = self.create_database()
        self.apply(database, *(MIGRATIONS if files is None else files), ROLES)
        return self.with_logins(database)

    def with_logins(self, database: Database) -> Guarded:
        return Guarded(
            database,
            web=self.login("web", database, self.role("app")),
            analyst=self.login("analyst", database, self.role("reader")),
            officer=self.login("officer", database, self.role("redactor")),
            deployer=self.login("deployer", database, self.role("owner")),
        )

    def login(self, name: str, database: Database, *groups: str, attributes: str = "") -> Database:
        """The database as a login of this name sees it, which is made if need be and put into the groups."""
        name = self.role(name)
        with psycopg.connect(self.server, autocommit=True) as session:
            if name not in self._logins:
                self._logins.append(name)
                session.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'of-a-test' {}").format(
                        sql.Identifier(name),
                        sql.SQL(attributes),
                    )
                )
            for group in groups:
                session.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))
        return Database(make_conninfo(database.conninfo, user=name, password="of-a-test"))

    def apply(self, database: Database, *files: Path, schema: str = "public", options: str = "") -> str:
        """Applies files as the README says, all or none; what psql wrote to stderr."""
        done = self.try_to_apply(database, *files, schema=schema, options=options)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def try_to_apply(
        self, database: Database, *files: Path, schema: str = "public", options: str = ""
    ) -> subprocess.CompletedProcess[str]:
        command = [find_psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "--single-transaction"]
        for file in files:
            command += ["-f", str(file)]
        environment = self._environment(f"-c search_path={schema} {options}")
        return subprocess.run(
            [*command, "-d", database.conninfo], env=environment, capture_output=True, text=True, check=False
        )

    def restore_without_privileges(self, database: Database) -> Database:
        """A copy of it as ``pg_dump --no-acl`` and psql make it."""
        restored = self.create_database()
        dump = f"'{Path(find_psql()).with_name('pg_dump')}' --no-acl -d '{database.conninfo}'"
        # A pg_dump that is newer than the server sets what the server does not know.
        done = self.in_shell(restored, f"{dump} | grep -v '^SET transaction_timeout' | psql -X -q -v ON_ERROR_STOP=1")
        assert done.returncode == 0, done.stderr
        return restored

    def in_shell(self, database: Database, command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the folder of the files; psql connects by what the environment says."""
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
        parts = conninfo_to_dict(database.conninfo)
        environment = self._environment() | {names[key]: str(value) for key, value in parts.items() if key in names}
        environment["PATH"] = f"{Path(find_psql()).parent}{os.pathsep}{environment['PATH']}"
        return subprocess.run(
            ["/bin/sh", "-c", command], cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
        )

    def _environment(self, options: str = "") -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        settings = f"-c hookflow.role_prefix={self.prefix} -c client_min_messages=warning {options}"
        return {**kept, "PGOPTIONS": settings}

    def close(self) -> None:
        """Databases first, for a role that owns something cannot be dropped; groups before the logins that gave them."""
        self._exits.close()
        groups = [self.role(group) for group in ("owner", "app", "reader", "redactor")]
        with psycopg.connect(self.server, autocommit=True) as session:
            for name in [*groups, *self._logins]:
                session.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
