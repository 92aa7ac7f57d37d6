"""The commands of the command line that grade: `kmodlab grade`, `kmodlab lab new`, `kmodlab lab check`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from kmodlab.errors import LabError, UsageError
from kmodlab.grading import report, similarity, skeleton
from kmodlab.grading.cluster import Cluster, serve
from kmodlab.grading.examiner import examiner, parallel
from kmodlab.grading.grade import Examine, Order, grade, store_of
from kmodlab.grading.intake import collect
from kmodlab.grading.lab import Lab
from kmodlab.grading.progress import Display
from kmodlab.grading.prove import prove
from kmodlab.grading.result import Result
from kmodlab.grading.store import write_whole
from kmodlab.process import locked

LabName = Annotated[str, typer.Argument(metavar="LAB", help="A lab's folder, or the name of one in labs/.")]
Jobs = Annotated[int, typer.Option(help="Machines at a time; 0: as memory and processors allow.", min=0)]


def grade_command(
    lab: LabName,
    submissions: Annotated[Path, typer.Argument(help="A folder of submissions, a download's zip, or one submission.")],
    out: Annotated[Path, typer.Option(help="Where results and reports go; results that are there are kept.")] = Path(
        "grades"
    ),
    only: Annotated[
        list[str] | None, typer.Option(help="Grade these students now; a pattern with * and ?. More than once: each.")
    ] = None,
    regrade: Annotated[bool, typer.Option("--regrade", help="Grade again what has a result.")] = False,
    jobs: Jobs = 0,
    keep: Annotated[bool, typer.Option("--keep", help="One submission: leave its machine up, to look at.")] = False,
    alike: Annotated[
        bool, typer.Option("--similarity", help="Also report which submissions are alike (needs copydetect).")
    ] = False,
    scheduler: Annotated[
        str, typer.Option(help="Grade on the workers of a dask scheduler, tcp://HOST:8786, instead of here.")
    ] = "",
    after_due: Annotated[
        bool, typer.Option("--after-due", help="The lab is over: show students the tests that are for afterwards.")
    ] = False,
) -> None:
    """Grade a class: a gradebook and feedback; exit 3 if something is left ungraded because the lab itself broke."""
    what = Lab.load(lab)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".kmodlab" / "lock", f"grading into {out}"):
        found = collect(submissions, what, out / ".kmodlab" / "work")
        order = Order(what, "", jobs or parallel(what), tuple(only or ()), regrade or keep)
        chosen = [submission for submission in found if order.chosen(submission)]
        if not chosen:
            raise UsageError("no submission has such a name", hint="--only takes patterns: --only 'ada*'")
        if keep and scheduler:
            raise UsageError("--keep leaves a machine up here, and --scheduler has none here")
        if keep and len(chosen) != 1:
            raise UsageError(f"--keep is for one submission, and here are {len(chosen)}", hint="name it with --only")
        machines = 1 if keep else order.jobs
        examine: Examine
        if scheduler:
            cluster = Cluster(scheduler, what)
            examine, image, machines = cluster.examine, cluster.images(), jobs or cluster.slots
        else:
            examine, image = examiner(what, machines, keep=keep)
        order = Order(what, image, machines, order.only, order.regrade)
        with Display() as display:
            results = grade(found, order, examine, store_of(out), display)
        written = report.write(results, out, over=after_due)
        if alike:
            starter = what.folder / "starter"
            pairs = similarity.compare(found, starter if starter.is_dir() else None)
            write_whole(out / "similarity.html", similarity.page(pairs, what.name).encode())
            written.append(out / "similarity.html")
        shutil.rmtree(out / ".kmodlab" / "work")
    for path in written:
        print(path)
    _require_all_graded(results)


def _require_all_graded(results: list[Result]) -> None:
    if ungraded := [result for result in results if result.score is None]:
        names = ", ".join(result.student for result in ungraded[:5])
        raise LabError(
            f"{len(ungraded)} of {len(results)} are not graded: {names}",
            hint="the same command tries them again; their pages say what broke",
            output=ungraded[0].reason,
        )


def worker_command(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The dask scheduler's, tcp://HOST:8786.")],
    slots: Annotated[int, typer.Option(help="Machines at a time on this host.", min=1)] = 1,
) -> None:
    """Grade for a dask scheduler, until it ends: what `kmodlab grade --scheduler` hands out."""
    serve(address, slots)


def new_command(
    place: Annotated[Path, typer.Argument(metavar="NAME", help="The new lab's folder; its name is the lab's.")],
) -> None:
    """Make a small lab that works, to be changed into one's own."""
    lab = skeleton.new_lab(place)
    print(f"{place}: {lab.title}; `kmodlab lab check {place}` proves it")


def check_command(
    lab: LabName,
    only: Annotated[list[str] | None, typer.Option(help="Check these: solution, starter, a mutant; a pattern.")] = None,
    jobs: Jobs = 0,
) -> None:
    """Prove a lab: the solution scores full marks, the starter little, every mutant loses a point; else exit 1."""
    what = Lab.load(lab)
    count = jobs or parallel(what)
    examine, image = examiner(what, count)
    with tempfile.TemporaryDirectory(prefix="kmodlab-lab-") as work, Display() as display:
        findings = prove(what, Order(what, image, count, tuple(only or ())), examine, Path(work), display)
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'BAD '}  {finding.name}: {finding.sentence}")
    if not findings or not all(finding.good for finding in findings):
        raise typer.Exit(1)
