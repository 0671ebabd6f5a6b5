"""What gets installed is the built wheel, not this directory: it must be whole, and ask for five packages only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.checkout import REPOSITORY, files_of_the_project

#: A project of a user's, as small as Django allows.
PROJECT_SETTINGS = """
SECRET_KEY = "x" * 50
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages", "pgtrigger", "django_hookflow",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
ROOT_URLCONF = "project_urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "never_connected"}}
QSTASH_TOKEN = "token"
QSTASH_CURRENT_SIGNING_KEY = "sig_current"
QSTASH_NEXT_SIGNING_KEY = "sig_next"
DJANGO_HOOKFLOW_DOMAIN = "https://my-app.example"
"""
PROJECT_URLS = """
from django.contrib import admin
from django.urls import include, path
urlpatterns = [path("admin/", admin.site.urls), path("hookflow/", include("django_hookflow.urls"))]
"""

#: What `migrate` would run, without a database: migrations read their .sql when they are loaded.
PRINT_MIGRATIONS = """
import django
django.setup()
from django.db.migrations.loader import MigrationLoader
for (app, name), migration in MigrationLoader(None).disk_migrations.items():
    if app == "django_hookflow":
        print(*(getattr(operation, "sql", "") for operation in migration.operations))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    # hatchling itself, not pip: nothing is fetched, and the version that the test group names is the one that builds.
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target], cwd=REPOSITORY, check=True
    )
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel's content, as pip lays it out, away from the repository."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    (target / "project_settings.py").write_text(PROJECT_SETTINGS)
    (target / "project_urls.py").write_text(PROJECT_URLS)
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "DATABASE_URL"}}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=installed,
        env={**env, "PYTHONPATH": str(installed), "DJANGO_SETTINGS_MODULE": "project_settings"},
        capture_output=True,
        text=True,
    )


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert held == files_of_the_project("django_hookflow")
    assert "django_hookflow/py.typed" in held
    assert {name for name in held if name.startswith("django_hookflow/migrations/") and name.endswith(".sql")}


def test_it_asks_for_five_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode("utf-8"))
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = sorted(re.split(r"[^A-Za-z0-9-]", line, maxsplit=1)[0].lower() for line in required)
    assert names == ["django", "django-pgtrigger", "psycopg", "pyjwt", "requests"]
    assert metadata.get_all("Provides-Extra") == ["cryptography", "demo"]
    assert metadata["Requires-Python"] == ">=3.10"


def test_a_project_runs_on_the_installed_wheel(installed: Path) -> None:
    where = run(installed, "-c", "import django_hookflow; print(django_hookflow.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed), where.stderr
    checked = run(installed, "-m", "django", "check")
    assert checked.returncode == 0, checked.stderr
    sql = run(installed, "-c", PRINT_MIGRATIONS)
    assert "CREATE TABLE django_hookflow_event" in sql.stdout, sql.stderr


def test_its_version_is_the_one_the_code_tells(wheel: Path, installed: Path) -> None:
    told = run(installed, "-c", "import django_hookflow; print(django_hookflow.__version__)")
    assert wheel.name.startswith(f"django_hookflow-{told.stdout.strip()}-py3-none-any")
