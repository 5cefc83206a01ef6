"""The figures with their bounds, and the table that the pages show."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured value with its bound."""

    name: str
    value: float
    bound: float
    is_at: Literal["most", "least"] = "most"
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.value <= self.bound if self.is_at == "most" else self.value >= self.bound


def table(figures: list[Figure]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| measured | value | bound | |", "| --- | --- | --- | --- |"]
    for figure in figures:
        verdict = "" if figure.holds else " **missed**"
        lines.append(
            f"| {figure.name} | {figure.value:.2f}{verdict} "
            f"| at {figure.is_at} {figure.bound:.2f} | {figure.note} |"
        )
    return "\n".join(lines) + "\n"
