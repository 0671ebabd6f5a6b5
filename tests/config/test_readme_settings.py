"""The README's table of settings says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from django_hookflow.conf import SETTINGS, Setting

README = Path(__file__).parents[2] / "README.md"
SIZES = {"KiB": 1024, "MiB": 1024**2}


def read_table() -> dict[str, str]:
    """Name to default of every row whose first column names settings; one row may name several with the same default."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in README.read_text(encoding="utf-8").splitlines()
        if re.match(r"\|\s*`(DJANGO_HOOKFLOW|QSTASH|GITHUB)_[A-Z_]+`", line)
    ]
    return {name: row[1] for row in rows for name in re.findall(r"`([A-Z_]+)`", row[0])}


def says_default(setting: Setting, cell: str) -> bool:
    """Whether a cell says a setting's default: as Python writes it, as text without quotes, or as a size."""
    bare = cell.replace("`", "").strip()
    size = re.fullmatch(r"(\d+) (KiB|MiB)", bare)
    if size is not None:
        return bool(setting.default == int(size[1]) * SIZES[size[2]])
    if setting.default is None:
        return bare in ("none", "None")
    return bare.strip('"') == str(setting.default)


def test_the_table_has_every_setting_in_the_order_of_the_list() -> None:
    assert list(read_table()) == list(SETTINGS), expected_table()


def test_the_table_has_every_default() -> None:
    table = read_table()

    wrong = {name: cell for name, cell in table.items() if name in SETTINGS and not says_default(SETTINGS[name], cell)}

    assert table, expected_table()
    assert wrong == {}, expected_table()


def expected_table() -> str:
    rows = [f"| `{s.name}` | `{s.default_text}` | {s.meaning} |" for s in SETTINGS.values()]
    return "the settings table of README.md must agree with django_hookflow/conf.py:\n" + "\n".join(rows)
