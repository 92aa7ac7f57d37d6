"""The commands that grade: `kmodlab grade`, `kmodlab check`, `kmodlab worker`, `kmodlab lab new`, `kmodlab lab check`.

What they do is imported when they do it: it takes longer than most other commands do as a whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kmodlab.errors import UsageError
from kmodlab.grading.names import Form

if TYPE_CHECKING:
    from kmodlab.grading.grader import GraderFactory

LabName = Annotated[str, typer.Argument(metavar="LAB", help="A lab's folder, or the name of one in labs/.")]
Seed = Annotated[
    int | None, typer.Option(help="Of what tests choose by chance, as a page names it: they choose the same again.")
]
Jobs = Annotated[int, typer.Option(help="Machines at a time; 0: as memory and processors allow.", min=0)]


def _make_grader(context: typer.Context) -> GraderFactory:
    """Return the grader that the command line was given, else the one that has machines here."""
    from kmodlab.grading.grader import make_grader  # noqa: PLC0415  # see above

    return context.obj or make_grader


def grade_command(
    context: typer.Context,
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
    seed: Seed = None,
    form: Annotated[
        Form | None, typer.Option("--as", help="What the submissions are, where they look like something else.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be graded, a line a student, and grade nothing.")
    ] = False,
    live: Annotated[bool, typer.Option("--live", help="Show it on a page in the browser while it goes on.")] = False,
    port: Annotated[
        int | None, typer.Option(help="With --live: the page's port on this machine; 0: any.", min=0, max=65535)
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="With --live: print the address, and open no browser.")
    ] = False,
) -> None:
    """Grade a class: a gradebook and feedback; exit 3 if something is left ungraded because the lab itself broke."""
    from kmodlab.grading.instructor import Live, grade_class, show_class  # noqa: PLC0415  # see above

    if not live and (no_browser or port is not None):
        raise UsageError("--port and --no-browser are about the page of --live", hint="add --live")
    if dry_run:
        show_class(lab, submissions, only=only or (), form=form or "")
        return
    grade_class(
        lab,
        submissions,
        out,
        only=only or (),
        regrade=regrade,
        jobs=jobs,
        keep=keep,
        alike=alike,
        scheduler=scheduler,
        after_due=after_due,
        seed=seed,
        form=form or "",
        live=Live(port or 0, not no_browser) if live else None,
        make_grader=_make_grader(context),
    )


def own_command(
    context: typer.Context,
    lab: LabName,
    folder: Annotated[Path, typer.Argument(help="Where your .c file and your Makefile are.")] = Path(),
    seed: Seed = None,
) -> None:
    """Run a lab's visible tests on your own module; exit 0 if it passes all of them, else 1."""
    from kmodlab.grading.report.pages import student_text  # noqa: PLC0415  # see above
    from kmodlab.grading.result import Verdict  # noqa: PLC0415
    from kmodlab.grading.student import check_own  # noqa: PLC0415

    result = check_own(lab, folder, seed=seed, make_grader=_make_grader(context))
    print(student_text(result), end="")
    if result.verdict is not Verdict.PASS:
        raise typer.Exit(1)


def worker_command(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The dask scheduler's, tcp://HOST:8786.")],
    slots: Annotated[int, typer.Option(help="Machines at a time on this host.", min=1)] = 1,
) -> None:
    """Grade for a dask scheduler, until it ends: what `kmodlab grade --scheduler` hands out."""
    from kmodlab.grading import sandbox  # noqa: PLC0415  # see above
    from kmodlab.grading.cluster import serve  # noqa: PLC0415

    sandbox.require()
    serve(address, slots)


def new_command(
    place: Annotated[Path, typer.Argument(metavar="NAME", help="The new lab's folder; its name is the lab's.")],
) -> None:
    """Make a small lab that works, to be changed into one's own."""
    from kmodlab.grading.skeleton import new_lab  # noqa: PLC0415  # see above

    lab = new_lab(place)
    print(f"{place}: {lab.title}; `kmodlab lab check {place}` proves it")


def check_command(
    context: typer.Context,
    lab: LabName,
    only: Annotated[
        list[str] | None, typer.Option(help="Check these: solution, starter, a mutant or deviation-*; a pattern.")
    ] = None,
    jobs: Jobs = 0,
) -> None:
    """Prove a lab: full marks for the solution, few for the starter, less for mutants and deviations; else exit 1."""
    from kmodlab.grading.instructor import check_lab  # noqa: PLC0415  # see above

    findings = check_lab(lab, only=only or (), jobs=jobs, make_grader=_make_grader(context))
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'BAD '}  {finding.name}: {finding.sentence}")
    if not findings or not all(finding.good for finding in findings):
        raise typer.Exit(1)
