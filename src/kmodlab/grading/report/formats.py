"""Results in the formats that others read: Gradescope, PrairieLearn, JUnit.

Sources: the autograder specifications at gradescope-autograders.readthedocs.io; PrairieLearn's
docs/externalGrading.md, section "Grading results"; the schema junit-10.xsd of the Jenkins xunit plugin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from kmodlab.grading.report import text
from kmodlab.grading.result import GradingResult, TestResult, Verdict

_VISIBILITY = {"visible": "visible", "hidden": "hidden", "after-due": "after_due_date"}
_KINDS = {
    "failed": "failure",
    "crashed": "error",
    "infra-error": "error",
    "not-run": "skipped",
    "not-reached": "skipped",
}
#: characters of one log; PrairieLearn takes a megabyte in all
_LOG = 100_000


def _summary(result: GradingResult) -> str:
    lines = [f"{result.verdict}: {text.reason(result)}", text.MEANING[result.verdict]]
    if advice := text.ADVICE.get(result.verdict):
        lines.append(advice)
    if result.late:
        lines.append(f"Handed in late; that costs {result.penalty:.0%} of the points.")
    lines += [f"Note: {note}" for note in result.notes]
    for title, log in (("Kernel report", result.oops), ("Build log", result.build_log)):
        if log and result.verdict is not Verdict.PASS:
            lines += ["", f"{title}:", text.head(log, _LOG // 4)]
    return text.fit("\n".join(lines))


def _said(test: TestResult) -> str:
    if test.outcome == "passed":
        return ""
    words = [f"Result: {text.OUTCOMES[text.outcome(test)]}."]
    words += [
        f"{label}: {value}"
        for label, value in (("Expected", test.expected), ("Seen", test.seen), ("Hint", test.hint))
        if value
    ]
    return text.fit(text.head("\n".join(words), 4000))


def gradescope(result: GradingResult) -> dict[str, Any]:
    """Return a student's results.json for Gradescope; what is not graded has no score in it."""
    known: dict[str, Any] = {
        "execution_time": round(sum(result.phases.values())),
        "output": _summary(result),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "stdout_visibility": "hidden",
        "extra_data": {"student": text.fit(result.student), "verdict": result.verdict, "key": result.key},
    }
    if result.score is None:
        return {**known, "tests": [{"name": "Not graded", "status": "failed", "output": text.fit(result.reason)}]}
    tests = [
        {
            "name": text.fit(text.titled(test)),
            "number": str(place),
            "score": test.earned,
            "max_score": test.points,
            "status": "passed" if test.outcome == "passed" else "failed",
            "output": _said(test),
            "visibility": _VISIBILITY[test.visibility],
        }
        for place, test in enumerate(result.tests, 1)
    ]
    return {**known, "score": result.score, "tests": tests}


def prairielearn(result: GradingResult, *, over: bool = False) -> dict[str, Any]:
    """Return a student's results.json for PrairieLearn; it shows every test in it, so hidden ones are not."""
    if result.score is None:
        return {"gradable": False, "format_errors": [text.fit(result.reason)]}
    return {
        "gradable": True,
        "score": round(result.score / result.max_score, 6) if result.max_score else 0.0,
        "message": text.reason(result),
        "output": _summary(result),
        "tests": [
            {
                "name": text.fit(test.id),
                "description": text.fit(text.titled(test)),
                "points": test.earned,
                "max_points": test.points,
                "message": text.OUTCOMES[text.outcome(test)],
                "output": _said(test),
            }
            for test in text.shown_tests(result, over=over)
        ],
    }


def junit(results: Sequence[GradingResult]) -> bytes:
    """Return JUnit XML: a suite for each student, a case for each test of the lab, hidden ones too."""
    root = ElementTree.Element("testsuites", name=results[0].lab if results else "")
    for result in results:
        root.append(_suite(result))
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _suite(result: GradingResult) -> ElementTree.Element:
    counts = {outcome: sum(text.outcome(test) == outcome for test in result.tests) for outcome in text.OUTCOMES}
    suite = ElementTree.Element(
        "testsuite",
        name=text.fit(result.student),
        tests=str(len(result.tests)),
        failures=str(counts["failed"]),
        errors=str(counts["crashed"] + counts["infra-error"]),
        skipped=str(counts["not-run"] + counts["not-reached"]),
        time=f"{sum(result.phases.values()):.3f}",
        timestamp=result.graded_at,
    )
    properties = ElementTree.SubElement(suite, "properties")
    about = {"submission": result.submission, "verdict": result.verdict, "image": result.image}
    about |= {"score": text.number(result.score), "max_score": text.number(result.max_score), "reason": result.reason}
    for name, value in about.items():
        ElementTree.SubElement(properties, "property", name=name, value=text.fit(value))
    for test in result.tests:
        suite.append(_case(test, result))
    for name, log in (("system-out", result.build_log), ("system-err", result.oops or result.console)):
        if log:
            ElementTree.SubElement(suite, name).text = text.fit(text.tail(log, _LOG))
    return suite


def _case(test: TestResult, result: GradingResult) -> ElementTree.Element:
    about = {"name": text.fit(text.titled(test)), "classname": f"{result.lab}.{test.id}", "time": f"{test.seconds:.3f}"}
    case = ElementTree.Element("testcase", about)
    kind = _KINDS.get(text.outcome(test))
    if kind:
        message = text.fit(test.fault or test.seen or text.reason(result)).partition("\n")[0][:200]
        ElementTree.SubElement(case, kind, type=result.verdict, message=message).text = _said(test)
    return case
