"""Pages for people: one for each student, HTML and Markdown, and one for the class, with plots."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from kmodlab.grading.report import text
from kmodlab.grading.report.plots import Bar, columns, rows
from kmodlab.grading.result import GradingResult, Verdict

COLOURS = {
    Verdict.PASS: "#2f7d4f", Verdict.FAIL: "#c77700", Verdict.BUILD_ERROR: "#7a5195", Verdict.LOAD_ERROR: "#a05195",
    Verdict.OOPS: "#c0392b", Verdict.PANIC: "#8e1b13", Verdict.HANG: "#b8562e", Verdict.LEAK: "#2d6a9f",
    Verdict.INFRA_ERROR: "#6b7280",
}  # fmt: skip
_PHASES = ("#2d6a9f", "#7fb3d5", "#c77700", "#2f7d4f", "#7a5195", "#6b7280")
#: where the console says more than the build log
_CONSOLE_TELLS = (Verdict.LOAD_ERROR, Verdict.PANIC, Verdict.HANG, Verdict.LEAK)
_BINS = 10
_LOG = 60_000
_SLOWEST = 10


def _fence(value: str) -> Markup:
    """Return a Markdown code block around anything: a fence longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", value)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}text\n{text.fit(value).rstrip()}\n{fence}")  # noqa: S704  # Markdown, not HTML


def _marked(value: str) -> Markup:
    """Return text for a page, with what stands in `marks` as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text.fit(value)))))  # noqa: S704  # it is escaped


def _plain(value: str) -> str:
    """Return one line of a stranger's text for Markdown: nothing in it is markup."""
    line = " ".join(text.fit(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]#|~>])", r"\\\1", line)


_ENV = Environment(
    loader=PackageLoader("kmodlab.grading.report"),
    autoescape=select_autoescape(["html.j2", "css.j2"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENV.filters |= {
    "fit": text.fit,
    "titled": text.titled,
    "outcome": text.outcome,
    "points": text.number,
    "plain": _plain,
    "fence": _fence,
    "marked": _marked,
}
_ENV.globals |= {"meaning": text.MEANING, "advice": text.ADVICE, "colours": COLOURS, "outcomes": text.OUTCOMES}


def render(template: str, **about: object) -> str:
    """Return a template's text."""
    return _ENV.get_template(template).render(about)


def student_html(result: GradingResult, *, over: bool = False) -> str:
    """Return a student's page; `over`: the lab is over, and tests that are to be seen afterwards are shown."""
    return render("student.html.j2", **_about(result, over=over))


def student_markdown(result: GradingResult, *, over: bool = False) -> str:
    """Return a student's feedback as Markdown."""
    return render("student.md.j2", **_about(result, over=over))


def student_text(result: GradingResult) -> str:
    """Return a student's feedback for a terminal: what the page says."""
    return render("student.txt.j2", **_about(result, over=False))


def _about(result: GradingResult, *, over: bool) -> dict[str, object]:
    shown = text.failed_first(text.shown_tests(result, over=over))
    hidden = [test for test in result.tests if test not in shown]
    logs = (
        ("Kernel report", text.head(result.oops, _LOG), True),
        ("Build log", text.head(result.build_log, _LOG), result.verdict is Verdict.BUILD_ERROR),
        ("Console, its end", text.tail(result.console, _LOG), result.verdict in _CONSOLE_TELLS and not result.oops),
    )
    return {
        "r": result, "tests": shown, "hidden": len(hidden), "hidden_points": sum(test.points for test in hidden),
        "reason": text.reason(result), "logs": [(title, log, open_) for title, log, open_ in logs if log.strip()],
        "ran": any(test.outcome != "not-run" for test in result.tests), "again": text.again(result),
    }  # fmt: skip


def class_html(results: Sequence[GradingResult], links: Sequence[str]) -> str:
    """Return the class's page, for the instructor.

    Args:
        results: of all students.
        links: each one's own page.
    """
    graded = [result.score for result in results if result.score is not None]
    figures = {
        "submissions": str(len(results)),
        "graded": str(len(graded)),
        "mean": text.number(statistics.fmean(graded)) if graded else "-",
        "median": text.number(statistics.median(graded)) if graded else "-",
        "full marks": str(sum(result.score == result.max_score for result in results)),
    }
    plots = [
        ("Scores", _distribution(results)),
        ("Verdicts", _verdicts(results)),
        ("Slowest", _slowest(results)),
    ]
    return render(
        "class.html.j2",
        lab=results[0].lab if results else "", figures=figures, plots=plots, tests=_tests(results),
        rows=list(zip(results, links, strict=True)), phases=list(zip(_phase_names(results), _PHASES, strict=False)),
        ungraded=[result for result in results if result.score is None], faults=_faults(results),
    )  # fmt: skip


def _faults(results: Sequence[GradingResult]) -> list[tuple[str, str, list[str]]]:
    """Return what broke in the lab's own tests: test, fault, and whose submissions it concerns."""
    found: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for test in result.tests:
            if test.outcome == "infra-error":
                found.setdefault((test.id, test.fault), []).append(result.student)
    return [(test, fault, students) for (test, fault), students in found.items()]


def _distribution(results: Sequence[GradingResult]) -> Markup:
    scores = [(result.score, result.max_score) for result in results if result.score is not None]
    shares = [score / most if most else 0.0 for score, most in scores]
    places = [min(_BINS - 1, int(share * _BINS + 1e-9)) for share in shares]
    bars = []
    for place in range(_BINS):
        count, low, high = places.count(place), place * 100 // _BINS, (place + 1) * 100 // _BINS
        hint = f"{count} with {low} to {high} % of the points"
        bars.append(Bar(f"{low}-{high}", ((count, "#2d6a9f"),), str(count), hint))
    return columns(bars, "How many submissions have which share of the points", "share of the points, %")


def _verdicts(results: Sequence[GradingResult]) -> Markup:
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    bars = [
        Bar(str(verdict), ((count, COLOURS[verdict]),), str(count), f"{verdict}: {count}. {text.MEANING[verdict]}")
        for verdict, count in counts.items()
        if count
    ]
    return rows(bars, max(counts.values(), default=1) or 1, "How many submissions have which verdict")


def _tests(results: Sequence[GradingResult]) -> list[tuple[str, int, int]]:
    """Return each test's title, how many submissions pass it, and of how many, in the lab's order."""
    graded = [result for result in results if result.score is not None]
    return [
        (text.titled(test), sum(result.tests[place].outcome == "passed" for result in graded), len(graded))
        for place, test in enumerate(graded[0].tests if graded else ())
    ]


def _phase_names(results: Sequence[GradingResult]) -> list[str]:
    return list(dict.fromkeys(name for result in results for name in result.phases))


def _slowest(results: Sequence[GradingResult]) -> Markup:
    names = _phase_names(results)
    slow = sorted(results, key=lambda result: -sum(result.phases.values()))[:_SLOWEST]
    bars = []
    for result in slow:
        parts = [(result.phases.get(name, 0.0), colour) for name, colour in zip(names, _PHASES, strict=False)]
        total = sum(result.phases.values())
        hint = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.phases.items())
        bars.append(Bar(result.student, tuple(parts), f"{total:.1f} s", f"{result.student}: {hint}"))
    most = max((sum(result.phases.values()) for result in slow), default=1.0) or 1.0
    return rows(bars, most, "What took longest, in seconds, by phase")
