"""What an instructor asks for: a class graded, a lab made, a lab proved; `commands.py` has the command line of it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kmodlab.errors import LabError, UsageError
from kmodlab.grading import report, similarity
from kmodlab.grading.cluster import Cluster
from kmodlab.grading.grade import Grader, Order, Several, Watcher, grade, store_of
from kmodlab.grading.grader import GraderFactory, make_grader, parallel
from kmodlab.grading.intake import Arrived, Submission, collect
from kmodlab.grading.lab import Lab
from kmodlab.grading.progress import Display
from kmodlab.grading.result import GradingResult
from kmodlab.grading.self_check import Finding, self_check
from kmodlab.grading.store import write_whole
from kmodlab.process import locked

if TYPE_CHECKING:
    from kmodlab.grading.live.board import Board


def _say(words: str) -> None:
    print(words, flush=True)


@dataclass(frozen=True)
class Live:
    """How a class is shown while it is graded.

    Attributes:
        port: of the loopback; 0 takes any that is free.
        browser: whether to open the page, where there is a desktop.
        say: tells the user where it is, at once also through a pipe.
    """

    port: int = 0
    browser: bool = True
    say: Callable[[str], None] = _say


def grade_class(
    lab: str,
    submissions: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    regrade: bool = False,
    jobs: int = 0,
    keep: bool = False,
    alike: bool = False,
    scheduler: str = "",
    after_due: bool = False,
    seed: int | None = None,
    form: str = "",
    live: Live | None = None,
    make_grader: GraderFactory = make_grader,
) -> None:
    """Grade a class, write its reports, and print which files these are.

    Args:
        lab: a lab's folder, or the name of one in labs/.
        submissions: a folder of them, a download's zip, or one submission.
        out: where results and reports go; results that are there are kept.
        only: students to grade now, patterns with * and ?; empty for all.
        regrade: grade again what has a result.
        jobs: machines at a time; 0: as memory and processors allow.
        keep: leave the machine of the one submission up.
        alike: report which submissions are alike, too.
        scheduler: address of a dask scheduler whose workers grade; empty for this machine.
        after_due: show students the tests that are for after the lab.
        seed: of what tests choose by chance; None: a new one for each submission.
        form: of what download they are, one of `names.FORMS`; empty: whatever they look like.
        live: show it on a page meanwhile; None: do not.
        make_grader: what has the machines, where no scheduler is named.

    Raises:
        UsageError: nothing to grade, options that exclude each other, or the page's port is taken.
        LabError: something is left ungraded, because the lab itself broke; all else is written.
    """
    what = Lab.load(lab)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".kmodlab" / "lock", f"grading into {out}"), _shown(what, out, live) as board:
        arrived = collect(submissions, what, out / ".kmodlab" / "work", form)
        print(arrived.sentence, flush=True)
        found = arrived.submissions
        order = Order(what, "", jobs or parallel(what), tuple(only), regrade or keep)
        _require_sense([one for one in found if order.chosen(one)], keep=keep, scheduler=scheduler)
        machines = 1 if keep else order.jobs
        grader: Grader
        if scheduler:
            cluster = Cluster(scheduler, what, seed=seed)
            grader, image, machines = cluster.examine, cluster.images(), jobs or cluster.slots
        else:
            followed = {"follow": board.follow} if board else {}
            grader, image = make_grader(what, machines, keep=keep, seed=seed, **followed)
        order = Order(what, image, machines, order.only, order.regrade)
        if board:
            board.machines(machines, elsewhere=bool(scheduler))
        with Display() as display:
            watcher: Watcher = Several(display, board) if board else display
            results = grade(found, order, grader, store_of(out), watcher)
        written = report.write(results, out, over=after_due)
        if alike:
            written.append(_report_alike(found, what, out))
        shutil.rmtree(out / ".kmodlab" / "work")
    for path in written:
        print(path)
    _require_all_graded(results)


@contextlib.contextmanager
def _shown(lab: Lab, out: Path, live: Live | None) -> Iterator[Board | None]:
    """Yield the board of a class that is shown live, None for one that is not: that one imports no server."""
    if live is None:
        yield None
        return
    from kmodlab.grading.live.server import showing  # noqa: PLC0415  # see above

    note = f"The reports are in {out.resolve()}."
    with showing(lab, note, live.port, live.browser, live.say) as board:
        yield board


def show_class(lab: str, submissions: Path, *, only: Sequence[str] = (), form: str = "") -> None:
    """Print what would be graded, a line a student, and grade nothing.

    Args:
        lab: a lab's folder, or the name of one in labs/.
        submissions: a folder of them, a download's zip, or one submission.
        only: students to list, patterns with * and ?; empty for all.
        form: as for `grade_class`.

    Raises:
        UsageError: nothing to grade, or it is unclear what.
    """
    what = Lab.load(lab)
    with tempfile.TemporaryDirectory(prefix="kmodlab-dry-run-") as work:
        arrived = collect(submissions, what, Path(work) / "work", form)
    chosen = list(filter(Order(what, "", 1, tuple(only)).chosen, arrived.submissions))
    _require_sense(chosen, keep=False, scheduler="")
    print("\n".join([arrived.sentence, *Arrived(arrived.form, chosen).lines()]))


def _require_sense(chosen: list[Submission], *, keep: bool, scheduler: str) -> None:
    if not chosen:
        raise UsageError("no submission has such a name", hint="--only takes patterns: --only 'ada*'")
    if keep and scheduler:
        raise UsageError("--keep leaves a machine up here, and --scheduler has none here")
    if keep and len(chosen) != 1:
        raise UsageError(f"--keep is for one submission, and here are {len(chosen)}", hint="name it with --only")


def _report_alike(found: Sequence[Submission], lab: Lab, out: Path) -> Path:
    starter = lab.folder / "starter"
    pairs = similarity.compare(found, starter if starter.is_dir() else None)
    write_whole(page := out / "similarity.html", similarity.page(pairs, lab.name).encode())
    return page


def _require_all_graded(results: list[GradingResult]) -> None:
    if ungraded := [result for result in results if result.score is None]:
        names = ", ".join(result.student for result in ungraded[:5])
        raise LabError(
            f"{len(ungraded)} of {len(results)} are not graded: {names}",
            hint="the same command tries them again; their pages say what broke",
            output=ungraded[0].reason,
        )


def check_lab(
    lab: str, *, only: Sequence[str] = (), jobs: int = 0, make_grader: GraderFactory = make_grader
) -> list[Finding]:
    """Prove a lab by its solution, its starter and its mutants.

    Args:
        lab: a lab's folder, or the name of one in labs/.
        only: of these, patterns; empty for all.
        jobs: machines at a time; 0: as memory and processors allow.
        make_grader: what has the machines.
    """
    what = Lab.load(lab)
    count = jobs or parallel(what)
    grader, image = make_grader(what, count)
    with tempfile.TemporaryDirectory(prefix="kmodlab-lab-") as work, Display() as display:
        return self_check(what, Order(what, image, count, tuple(only)), grader, Path(work), display)
