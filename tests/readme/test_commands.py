"""The commands that the README and the guides name exist and take what they are given."""

from __future__ import annotations

import itertools
import re
import shlex

import pytest
from django.core.management import get_commands, load_command_class

from django_hookflow.__main__ import main as package_main
from tests.checkout import REPOSITORY
from tests.readme.snippets import read_all, read_blocks


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
        case ["python", "-m", "django_hookflow", *options]:
            return ends_well(options)
        case ["pip", "install", *_]:
            return True
        case ["python", "audit.py", *_]:
            return (REPOSITORY / "django_hookflow" / "evidence" / "audit.py").exists()
        case ["psql", *options]:
            files = [following for option, following in itertools.pairwise(options) if option == "-f"]
            return all((REPOSITORY / file).exists() for file in files)
    return False


def ends_well(options: list[str]) -> bool:
    """Whether the package takes ``options`` and can say what they are for."""
    with pytest.raises(SystemExit) as ended:
        package_main([*options, "--help"])
    return ended.value.code == 0


def test_every_command_exists() -> None:
    lines = command_lines()
    assert [line for line in lines if not takes(shlex.split(line))] == []
    assert "make demo" in lines
    assert "make test" in lines


def test_commands_within_the_text_exist() -> None:
    source = read_all()
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
    assert not takes(["python", "-m", "django_hookflow", "coffee"])


def test_the_demo_takes_what_the_makefile_hands_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_well(["demo"])
    assert "--check" in capsys.readouterr().out
