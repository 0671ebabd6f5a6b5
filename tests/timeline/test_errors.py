"""Which line of the user's own code an error came from."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import pytest

import django_hookflow
from django_hookflow.timeline.errors import innermost_own_frame

PACKAGE = Path(django_hookflow.__file__).parent
INSTALLED = "/srv/venv/lib/python3.12/site-packages/requests/api.py"


def text(*frames: str, end: str = "E: no") -> str:
    lines = [f'  File "{file}", line {number}, in f{number}\n    pass' for number, file in enumerate(frames, start=1)]
    return "\n".join(["Traceback (most recent call last):", *lines, end])


@pytest.mark.parametrize(
    ("told", "frame"),
    [
        (text("/srv/shop/flows.py", "/srv/shop/bank.py", INSTALLED), "/srv/shop/bank.py:2 in f2"),
        (text(INSTALLED, sysconfig.get_path("stdlib") + "/json/decoder.py", "<frozen runpy>"), None),
        (text("/srv/shop/flows.py", str(PACKAGE / "runtime" / "steps.py")), "/srv/shop/flows.py:1 in f1"),
        (text("/usr/lib/python3/dist-packages/x.py", "/usr/local/lib/python3.11/json/x.py"), None),
        ("C:\\app\\shop.py", None),
        ('  File "C:\\app\\shop.py", line 3, in pay', "C:\\app\\shop.py:3 in pay"),
        ('  File "/srv/shop/broken.py", line 3\n    def\nSyntaxError: no', "/srv/shop/broken.py:3"),
        ("", None),
        ("… 900 characters cut …", None),
    ],
)
def test_the_nearest_line_of_ones_own(told: str, frame: str | None) -> None:
    assert innermost_own_frame(told) == frame


def test_of_errors_that_led_to_each_other_the_last_one_that_is_ones_own() -> None:
    cause = text("/srv/shop/bank.py", INSTALLED)
    led = "\nThe above exception was the direct cause of the following exception:\n\n"
    assert innermost_own_frame(cause + led + text("/srv/shop/flows.py")) == "/srv/shop/flows.py:1 in f1"
    assert innermost_own_frame(cause + led + text(INSTALLED)) == "/srv/shop/bank.py:1 in f1"


def test_a_real_one_is_named_from_where_it_is_imported() -> None:
    try:
        int("no number")
    except ValueError:
        told = traceback.format_exc()
    line = told.split("line ", 1)[1].split(",")[0]
    assert (
        innermost_own_frame(told)
        == f"tests/timeline/test_errors.py:{line} in {test_a_real_one_is_named_from_where_it_is_imported.__name__}"
    )
