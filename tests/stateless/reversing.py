"""A seal that hides nothing from a reader who knows it, and everything from a search."""

from __future__ import annotations

from uuid import UUID


class Seal:
    def seal(self, run_uid: UUID, text: str) -> str:
        return text[::-1]

    def open(self, run_uid: UUID, sealed: str) -> str:
        return sealed[::-1]
