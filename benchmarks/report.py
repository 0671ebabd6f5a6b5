"""Figures, with the targets they are built for, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number; ``ratio`` is it as a share ``of`` another. A target is about the ratio if there is one."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    of: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        figure = self.value if self.ratio is None else self.ratio
        if self.at_least is not None:
            return figure >= self.at_least
        return figure <= self.at_most if self.at_most is not None else None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "is_met": self.is_met}


def format_figures(figures: Iterable[Figure]) -> str:
    return format_table(
        ("", "measured", "", "ratio", "target", ""),
        [
            (
                figure.name,
                format_number(figure.value),
                figure.unit,
                "" if figure.ratio is None else f"{figure.ratio:.2f} of {figure.of}",
                target_of(figure),
                {True: "met", False: "MISSED", None: ""}[figure.is_met],
            )
            for figure in figures
        ],
        right={1},
    )


def target_of(figure: Figure) -> str:
    if figure.at_least is not None:
        return f"at least {figure.at_least:g}"
    return f"at most {figure.at_most:g}" if figure.at_most is not None else ""


def format_number(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def format_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: set[int]) -> str:
    """Columns as wide as what is in them; those in ``right`` are aligned to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(row: tuple[str, ...]) -> str:
        aligned = (cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row))
        return "  ".join(aligned).rstrip()

    return "\n".join([line(header), "  ".join("─" * width for width in widths), *(line(row) for row in rows)])
