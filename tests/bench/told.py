"""Figures of a benchmark: each is printed as soon as it is known, and all of them are a part of a page."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """What was measured: what of, how much, and what it should be, where that was said."""

    what: str
    measured: str
    aim: str
    held: bool

    @property
    def verdict(self) -> str:
        return "" if not self.aim else "holds" if self.held else "missed"


@dataclass
class Told:
    """A table's figures.

    Attributes:
        title: of the part of the page.
        about: what stands above the table: on what they were measured.
    """

    title: str
    about: str
    figures: list[Figure] = field(default_factory=list)

    def line(self, what: str, measured: str, aim: str = "", held: bool = True) -> None:
        """Take a figure, and print it."""
        one = Figure(what, measured, aim, held)
        self.figures.append(one)
        print(f"{what:<60}{measured:>14}  {aim:<10}  {one.verdict}", flush=True)

    def part(self) -> str:
        """Return it as Markdown."""
        rows = "".join(f"| {one.what} | {one.measured} | {one.aim} | {one.verdict} |\n" for one in self.figures)
        return f"## {self.title}\n\n{self.about}\n\n| what | measured | aim | |\n|---|---:|---:|---|\n{rows}"
