"""Text for reports: what machines and strangers wrote, made fit to show, and our own words for what a result means."""

from __future__ import annotations

import re

from kmodlab.grading.names import origin_of, slug
from kmodlab.grading.result import GradingResult, TestResult, Verdict

_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
#: what XML 1.0 does not allow, and what turns the direction of text around
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)

MEANING = {
    Verdict.PASS: "The module does all that is asked for.",
    Verdict.FAIL: "The module builds, loads and unloads; some tests did not pass.",
    Verdict.BUILD_ERROR: "There is no module to test: it did not build, or what was handed in could not be taken.",
    Verdict.LOAD_ERROR: "The module builds, but the kernel does not load it.",
    Verdict.OOPS: "The kernel reported an error of its own while the module was at work.",
    Verdict.PANIC: "The module brought the whole machine down.",
    Verdict.HANG: "The machine stopped answering, or something did not end in its time.",
    Verdict.LEAK: "The module leaves something behind: it does not unload, or its files stay.",
    Verdict.INFRA_ERROR: "Not graded: the lab itself broke. This is no zero, and nothing that you have to mend.",
}

ADVICE = {
    Verdict.BUILD_ERROR: "Begin with the first error of the build log; later ones often follow from it.",
    Verdict.LOAD_ERROR: "The console says why: a symbol that modules may not use, a missing MODULE_LICENSE(), an init "
    "function that returns an error.",
    Verdict.OOPS: "Read the report below from its first line; the first function of yours in the call trace is where "
    "to look (a line with a ? may be left over from an earlier call).",
    Verdict.PANIC: "Read the last lines of the console; what is there before the panic says what led to it.",
    Verdict.HANG: "Look for a lock that is taken twice or never released, a loop that does not end, and a read "
    "function that never returns 0.",
    Verdict.LEAK: "The exit function has to undo what the init function did, in the opposite order.",
}

#: where a log of ours is, which is for the instructor
_OUR_LOG = re.compile(r" \(details: [^)]*\)")

OUTCOMES = {
    "passed": "passed",
    "failed": "failed",
    "crashed": "machine broke",
    "infra-error": "test broke",
    "not-run": "not run",
    "not-reached": "not reached",
}
#: what a student has to look at comes first; bonus that was not reached, which costs nothing, last
_URGENT = ("crashed", "failed", "infra-error", "not-run", "passed", "not-reached")


def fit(text: str) -> str:
    """Return text without what a terminal, XML or a browser would take for more than text."""
    return _UNFIT.sub("�", _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def tail(text: str, size: int) -> str:
    """Return the end of a text, saying so where something is left out."""
    return text if len(text) <= size else f"[{len(text) - size} characters left out]\n{text[-size:]}"


def head(text: str, size: int) -> str:
    """Return the beginning of a text, saying so where something is left out."""
    return text if len(text) <= size else f"{text[:size]}\n[{len(text) - size} characters left out]"


def number(value: float | None) -> str:
    """Return a number of points as people write it; nothing for none."""
    return "" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def outcome(test: TestResult) -> str:
    """Return how a test ended, a key of `OUTCOMES`: what is beyond the core and is not there is no failure."""
    return "not-reached" if test.bonus and test.outcome == "failed" else test.outcome


def titled(test: TestResult) -> str:
    """Return a test's title, which says so where its points are counted apart."""
    return f"Bonus: {test.title}" if test.bonus else test.title


def shown_tests(result: GradingResult, *, over: bool) -> list[TestResult]:
    """Return the tests that a student may see.

    Args:
        result: the student's.
        over: the lab is over: those that are to be seen afterwards are shown, too.
    """
    may = ("visible", "after-due") if over else ("visible",)
    return [test for test in result.tests if test.visibility in may]


def failed_first(tests: list[TestResult]) -> list[TestResult]:
    """Return tests with those that cost points first, else in the lab's order."""
    return sorted(tests, key=lambda test: _URGENT.index(outcome(test)))


def again(result: GradingResult) -> list[str]:
    """Return what one needs to know to do a grading again: image, seed, how long it took."""
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.phases.items())
    ran = any(test.outcome != "not-run" for test in result.tests)
    about = {"image": result.image, "seed": str(result.seed) if ran else "", "times": phases}
    return [f"{name}: {value}" for name, value in about.items() if value]


def reason(result: GradingResult) -> str:
    """Return why, for the student: tests that are not shown are counted, and not named."""
    words = _OUR_LOG.sub("", result.reason)
    for test in result.tests:
        if test.visibility != "visible":
            words = re.sub(rf"\bthe test {re.escape(test.id)}\b", "a test that is not shown", words)
    named = re.compile(
        rf"\b(?:{'|'.join(re.escape(t.id) for t in result.tests if t.visibility != 'visible') or '(?!)'})\b"
    )
    if result.verdict is Verdict.FAIL and named.search(words):
        core = [test for test in result.tests if not test.bonus]
        return f"{sum(test.outcome != 'passed' for test in core)} of {len(core)} tests did not pass."
    return fit(words)


def page_names(results: list[GradingResult]) -> list[str]:
    """Return a name for each result's folder: always the same for the same results, fit for any file system."""
    taken: dict[str, int] = {}
    names = []
    for result in results:
        origin = origin_of(result.submission, form=result.form)
        ids = slug(origin.participant or origin.user)[:20] if origin.participant or origin.user else ""
        name = "-".join(word for word in (slug(result.student)[:40].strip("-"), ids) if word).lower()
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name}--{taken[name]}")
    return names
