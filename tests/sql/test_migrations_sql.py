"""``migrations_sql`` has what the migrations have, and a database made from it is the one that ``migrate`` makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import django
import pytest
from django.db import connection
from django.db.migrations import RunPython, RunSQL

import migrations_sql.__main__ as tool
from migrations_sql.collect import APP, collected_files, migrations_in_order
from tests.log.calls import psql
from tests.sql.catalog import catalog_of

FOLDER = Path(tool.__file__).parent
FILES = sorted(FOLDER.glob("0*.sql"))

only_on_pinned_django = pytest.mark.skipif(
    django.VERSION[:2] != tool.PINNED_DJANGO,
    reason=f"the files hold the SQL of Django {tool.PINNED_DJANGO}, this is {django.get_version()}",
)


@only_on_pinned_django
def test_the_files_are_as_the_migrations_have_them() -> None:
    command = [sys.executable, "-m", "migrations_sql", "--check"]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(command, cwd=FOLDER.parent, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@only_on_pinned_django
def test_what_is_installed_is_as_the_migrations_make_it() -> None:
    """On any version of PostgreSQL that the tests run on."""
    command = [sys.executable, "-m", "migrations_sql", "--installed", "--check"]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(command, cwd=FOLDER.parent, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@only_on_pinned_django
def test_an_installed_object_that_differs_is_named_with_the_command_that_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.INSTALLED_OBJECTS.write(tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in tool.INSTALLED.iterdir()}
    (tmp_path / "hookflow_append.sql").write_text("-- edited", encoding="utf-8")
    (tmp_path / "django_hookflow_head.sql").unlink()
    (tmp_path / "hookflow_of_a_branch.sql").touch()
    capsys.readouterr()
    assert tool.INSTALLED_OBJECTS.check(tmp_path) == 1
    assert capsys.readouterr().err == (
        "not as the migrations have it: django_hookflow_head.sql, hookflow_append.sql, hookflow_of_a_branch.sql\n"
        "run: python -m migrations_sql --installed\n"
    )


@only_on_pinned_django
def test_a_file_that_differs_is_named_with_the_command_that_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.MIRRORS.write(tmp_path) == 0
    assert tool.MIRRORS.check(tmp_path) == 0
    first, *_, last = sorted(tmp_path.iterdir())
    first.write_text("-- edited", encoding="utf-8")
    last.unlink()
    (tmp_path / "0099_of_a_branch.sql").touch()
    (tmp_path / "roles.sql").touch()
    capsys.readouterr()
    assert tool.MIRRORS.check(tmp_path) == 1
    assert capsys.readouterr().err == (
        f"not as the migrations have it: {first.name}, {last.name}, 0099_of_a_branch.sql\nrun: python -m migrations_sql\n"
    )
    assert tool.MIRRORS.write(tmp_path) == 0
    assert tool.MIRRORS.check(tmp_path) == 0
    assert (tmp_path / "roles.sql").exists()


def test_a_migration_that_its_template_would_write_otherwise_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when it is missing. Others beside it, written by hand, are left alone."""
    by_hand = tmp_path / "0001_initial.sql"
    by_hand.touch()
    refused = "not as its template and the catalogue of events have it: {}\nrun: python -m migrations_sql\n"
    assert tool.EXPANDED.check(tmp_path) == 1
    assert tool.EXPANDED.write(tmp_path) == tool.EXPANDED.check(tmp_path) == 0
    (tmp_path / "0002_folds.sql").write_text("-- edited", encoding="utf-8")
    assert tool.EXPANDED.check(tmp_path) == 1
    both = "0002_folds.sql", "0004_writing.sql"
    assert capsys.readouterr().err == refused.format(", ".join(both)) + refused.format(both[0])
    assert {path.name for path in tmp_path.iterdir()} == {"0001_initial.sql", *both}


def test_every_migration_has_its_file_in_order() -> None:
    assert [path.stem for path in FILES] == [migration.name for migration in migrations_in_order()]


def test_the_readme_lists_every_file() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+\.sql)` \|", readme, re.MULTILINE)[: len(FILES)] == [path.name for path in FILES]


#: Brings runs of 0.0.x into the log, in many transactions, and asks Django for the project's models. Says how psql does it.
IN_PYTHON = "0010_imported"


def test_no_migration_does_what_sql_cannot() -> None:
    for migration in migrations_in_order():
        if migration.name == IN_PYTHON:
            continue
        for operation in migration.operations:
            assert operation.reduces_to_sql, f"{migration}: {operation}"
            assert not isinstance(operation, RunPython), f"{migration}: {operation}"
            assert not isinstance(operation, RunSQL) or isinstance(operation.sql, str), f"{migration}: {operation}"
    texts = dict(collected_files())
    assert (
        "\n-- Runs of 0.0.x; by hand, after this and outside of a transaction: CALL hookflow_import();\n"
        in texts[f"{IN_PYTHON}.sql"]
    )
    assert [name for name, text in texts.items() if "CANNOT BE WRITTEN AS SQL" in text] == [f"{IN_PYTHON}.sql"]


def apply(path: Path, database: str) -> subprocess.CompletedProcess[str]:
    return psql("--single-transaction", "-v", "ON_ERROR_STOP=1", "-f", str(path), database=database)


def manage(database: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A management command of a project that has nothing but this app, on ``database``."""
    url = environment["DATABASE_URL"].replace(f"/{connection.settings_dict['NAME']}?", f"/{database}?")
    assert url != environment["DATABASE_URL"]
    environment = {**environment, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.log.user_settings"}
    command = [sys.executable, "-m", "django", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_psql_makes_the_database_that_migrate_makes(database: str, process_environment: dict[str, str]) -> None:
    for path in FILES:
        done = apply(path, database)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "ERROR" not in done.stderr
    made_by_psql, made_by_migrate = catalog_of(database), catalog_of(connection.settings_dict["NAME"])
    for kind, rows in made_by_migrate.items():
        assert made_by_psql[kind] == rows, kind
        assert rows, kind
    nothing_to_do = manage(database, process_environment, "migrate", "--check")
    assert nothing_to_do.returncode == 0, nothing_to_do.stdout + nothing_to_do.stderr
    applied_again = apply(FILES[0], database)
    assert applied_again.returncode == 3
    assert "already exists" in applied_again.stderr


def test_migrations_go_back_to_nothing_and_forth_again(database: str, process_environment: dict[str, str]) -> None:
    for target in ((), ("zero",), ()):
        done = manage(database, process_environment, "migrate", APP, *target)
        assert done.returncode == 0, done.stderr
        left = {kind: rows for kind, rows in catalog_of(database).items() if rows}
        assert (left == {}) is bool(target)
