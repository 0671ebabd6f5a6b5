"""The README's commands exist and take what they are given; its set-up is a project that all checks pass."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from django.contrib import admin
from django.contrib.auth import get_permission_codename
from django.core.management import get_commands, load_command_class

from django_hookflow.__main__ import main as package_main
from tests.checkout import REPOSITORY
from tests.readme.snippets import README, find_block, read_blocks, read_headings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
import os
from django_hookflow.demo.postgres import settings_from_url
SECRET_KEY = "x" * 50
USE_TZ = True
ROOT_URLCONF = "urls"
DATABASES = {"default": settings_from_url(os.environ["DATABASE_URL"])}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
"""
URLS = """
from django.urls import include, path
urlpatterns = []
"""
KEYS = ("QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")


def command_lines() -> list[str]:
    texts = (block.text.replace("\\\n", " ") for block in read_blocks() if block.language == "sh")
    return [line for text in texts for line in text.splitlines() if line]


def names_in_the_database() -> set[str]:
    """Functions, procedures, views and roles that the files for DBAs make."""
    files = (REPOSITORY / "migrations_sql").glob("*.sql")
    return set(re.findall(r"\bhookflow_\w+", " ".join(path.read_text(encoding="utf-8") for path in files)))


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def takes(command: list[str]) -> bool:
    """Whether there is such a command with such options."""
    match command:
        case ["make", target, *_]:
            return target in make_targets()
        case ["python", "manage.py", name, *options]:
            parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
            return parser.parse_args(options) is not None
        case ["pip", "install", *_]:
            return True
        case ["python", "audit.py", *_]:
            return (REPOSITORY / "django_hookflow" / "evidence" / "audit.py").exists()
        case ["psql", *options]:
            files = [following for option, following in itertools.pairwise(options) if option == "-f"]
            return all((REPOSITORY / file).exists() for file in files)
    return False


def test_every_command_exists() -> None:
    lines = command_lines()
    assert [line for line in lines if not takes(shlex.split(line))] == []
    assert "make demo" in lines
    assert "make test" in lines


def test_commands_within_the_text_exist() -> None:
    source = README.read_text(encoding="utf-8")
    named = re.findall(r"`((?:make|python manage\.py|python -m) [^`]+)`", source)
    assert named
    for text in named:
        assert takes(shlex.split(text)), text
    for name in set(re.findall(r"`(hookflow_\w+)`", source)):
        assert name in get_commands() or name in names_in_the_database(), name


def test_an_option_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(BaseException, match="--every-minute"):
        takes(["python", "manage.py", "hookflow_relay", "--every-minute"])
    assert not takes(["make", "coffee"])


def test_the_demo_takes_what_the_makefile_hands_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        package_main(["demo", "--help"])
    assert ended.value.code == 0
    assert "--check" in capsys.readouterr().out


def test_the_permissions_are_those_that_the_admin_asks_for() -> None:
    named = re.findall(r"^\| `django_hookflow\.(\w+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    shown = [model._meta for model in admin.site._registry if model._meta.app_label == "django_hookflow"]
    wanted = {get_permission_codename("view", meta) for meta in shown} | {
        codename for meta in shown for codename, _ in meta.permissions
    }
    assert sorted(named) == sorted(wanted)


def test_links_within_the_page_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in read_headings()}
    links = re.findall(r"\]\(#([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert set(links) <= anchors


def test_lines_are_no_longer_than_elsewhere() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_the_set_up_passes_every_check(tmp_path: Path) -> None:
    """Settings and URLs as in the five steps, and a check that finds nothing to say."""
    heading = "Into an existing project"
    (tmp_path / "project_settings.py").write_text(SETTINGS + find_block(heading, 1).text)
    (tmp_path / "urls.py").write_text(URLS + find_block(heading, 2).text)
    environment = {
        **os.environ,
        **{key: f"value of {key}" for key in KEYS},
        "DJANGO_SETTINGS_MODULE": "project_settings",
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-m", "django", "check", "--tag", "django_hookflow", "--fail-level", "WARNING"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, textwrap.indent(done.stderr, "  ")
    assert "no issues" in done.stdout


def test_every_picture_is_there() -> None:
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', README.read_text(encoding="utf-8"))
    assert len(pictures) == 4
    assert [name for name in pictures if not (REPOSITORY / name).exists()] == []
