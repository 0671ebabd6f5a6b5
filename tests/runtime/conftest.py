"""What a project puts around work, for a test."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest


class Project:
    """Modules of a project's own, with the wrappers in them."""

    def __init__(self, settings: Any) -> None:
        self.module = types.ModuleType("project_wrappers")
        self.settings = settings

    def use(self, **wrappers: Any) -> None:
        for name, wrapper in wrappers.items():
            setattr(self.module, name, wrapper)
        # Another list each time: wrappers are made once a process.
        Project.number += 1
        name = f"project_wrappers_{Project.number}"
        sys.modules[name] = self.module
        self.settings.DJANGO_HOOKFLOW_WRAPPERS = [f"{name}.{wrapper}" for wrapper in wrappers]

    number = 0


@pytest.fixture
def project(settings: Any) -> Iterator[Project]:
    yield Project(settings)
    for name in [name for name in sys.modules if name.startswith("project_wrappers_")]:
        del sys.modules[name]
