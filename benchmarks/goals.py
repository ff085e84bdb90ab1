"""Figures beside the goals that they are held to, one table for all benchmarks."""

from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """What was found, and what it should be."""

    name: str
    found: float
    sense: Literal["at least", "at most"]
    goal: float
    form: str = ".2f"
    """How both numbers are written."""

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.found >= self.goal if self.sense == "at least" else self.found <= self.goal


def print_figures(console: Console, figures: list[Figure]) -> None:
    """The table that every benchmark ends with."""
    table = Table("figure", "found", "goal", "")
    for figure in figures:
        goal = f"{figure.sense} {figure.goal:{figure.form}}"
        table.add_row(figure.name, f"{figure.found:{figure.form}}", goal, "met" if figure.met else "missed")
    console.print(table)
