"""The statements that are sent: no value is ever written into a comment of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import django_hookflow.sql
from django_hookflow.sql import load

STATEMENTS = sorted(path.stem for path in Path(django_hookflow.sql.__file__).parent.glob("*.sql"))


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_parameter_stands_in_a_comment(name: str) -> None:
    text = load(name)
    assert text.strip()
    in_comments = re.findall(r"--[^\n]*(?:%\(|%s|\{)[^\n]*|/\*.*?(?:%\(|%s|\{).*?\*/", text, re.DOTALL)
    assert in_comments == []
