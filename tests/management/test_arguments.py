"""Arguments that a command cannot work with: a sentence that names what was wrong, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.admin.history import start

#: As Python has an argument with bytes that are no UTF-8.
NO_UTF8 = "order\udcff\udcfe"
NO_MOMENTS = ["2026-02-30T00:00", "²", "9" * 5_000, "9999-12-31T23:59:59-23:00", "0001-01-01T00:00+23:00"]


@pytest.mark.django_db
@pytest.mark.parametrize("text", [*NO_MOMENTS, "2026-01-01T00:00+99:00", "2026-13", ""])
def test_what_is_no_moment(text: str) -> None:
    start("order-1")
    with pytest.raises(CommandError, match="is not an event number or a time: use a number such as 57"):
        call_command("hookflow_timeline", "order-1", "--as-of", text)
    with pytest.raises(CommandError, match="is not a position or a date: use a number"):
        call_command("hookflow_export", "--since", text)
    with pytest.raises(CommandError, match="is not a valid date: use a format such as"):
        call_command("hookflow_verify", "--until", text)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "line",
    [
        ["hookflow_timeline", NO_UTF8],
        ["hookflow_export", "--run", NO_UTF8],
        ["hookflow_export", "--type", NO_UTF8],
        ["hookflow_verify", "--run", NO_UTF8],
        ["hookflow_rebuild", "--run", NO_UTF8],
    ],
    ids=lambda line: " ".join(line[:-1]),
)
def test_what_is_no_utf_8(line: list[str]) -> None:
    start("order-1")
    with pytest.raises(CommandError, match=r"order\\udcff\\udcfe' is not valid UTF-8: check the arguments"):
        call_command(*line)


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_directory_is_no_archive(capsys: pytest.CaptureFixture[str], path: str) -> None:
    with pytest.raises(SystemExit):
        call_command("hookflow_archive", "verify", path, "--without-database")
    assert f"{Path(path)}: Is a directory" in capsys.readouterr().out


@pytest.mark.django_db
@pytest.mark.parametrize("number", ["0", "-1", "1001", "9" * 20])
def test_more_messages_at_a_time_than_there_can_be_connections(number: str) -> None:
    with pytest.raises(CommandError, match="--concurrency must be at least 1 and at most 1,000"):
        call_command("hookflow_relay", "--once", "--concurrency", number)
