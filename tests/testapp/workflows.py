"""The workflows that tests run."""

from __future__ import annotations
