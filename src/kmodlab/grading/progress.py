"""What one sees while a class is graded: a bar with verdicts so far and the time left, or a line for each result."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text

from kmodlab.grading.intake import Submission
from kmodlab.grading.report.text import fit, number
from kmodlab.grading.result import GradingResult, Verdict

_STYLES = {Verdict.PASS: "green", Verdict.INFRA_ERROR: "bold magenta"}


class Display:
    """A watcher of `grade` that shows what it hears.

    Args:
        console: where; on one that is no terminal there is no bar.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.counts: Counter[Verdict] = Counter()
        self.running: list[str] = []
        self.done = self.total = 0
        words = TextColumn("{task.description}", markup=False)
        self.progress = Progress(
            words, BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), Remaining(),
            console=self.console, disable=not self.console.is_terminal, transient=True,
        )  # fmt: skip
        self.task = TaskID(0)

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.progress.stop()

    def begins(self, total: int) -> None:
        """Take note of how many submissions there are."""
        self.total = total
        self.task = self.progress.add_task("grading", total=total)

    def starts(self, submission: Submission) -> None:
        """Show that the examination of one starts."""
        self.running.append(submission.student)
        self._describe()

    def ends(self, result: GradingResult, *, known: bool) -> None:
        """Show a result."""
        self.done += 1
        self.counts[result.verdict] += 1
        if result.student in self.running:
            self.running.remove(result.student)
        self.progress.advance(self.task)
        self._describe()
        points = "not graded" if result.score is None else f"{number(result.score)} of {number(result.max_score)}"
        line = Text.assemble(
            f"{self.done:>{len(str(self.total))}}/{self.total}  ",
            (f"{result.verdict:<12}", _STYLES.get(result.verdict, "red")), f"{points:<12}  ", fit(result.student),
            "  (known)" if known else "",
        )  # fmt: skip
        self.console.print(line, soft_wrap=True)

    def _describe(self) -> None:
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.counts.items())) or "none yet"
        running = f"; running: {', '.join(fit(name) for name in self.running[:4])}" if self.running else ""
        self.progress.update(self.task, description=f"{verdicts}{running}"[:100])
