"""Gradebooks: what Moodle and Canvas import, and a table for people.

Sources: Moodle's mod/assign/feedback/offline (the columns Identifier, Grade and Last modified (grade) are found by
their names; an empty grade is skipped, one above the maximum too); Canvas's lib/gradebook_importer.rb (Student, ID,
SIS User ID, SIS Login ID, Section, then assignments; a row `Points Possible`).
"""

from __future__ import annotations

import csv
import html
import io
import re
import zipfile
from collections.abc import Iterable, Sequence

from kmodlab.grading.names import origin_of
from kmodlab.grading.report import text
from kmodlab.grading.result import GradingResult, TestResult, Verdict

#: what begins a formula; in the wide letters of East Asia, too
_FORMULA = ("=", "+", "-", "@", "\t", "＝", "＋", "－", "＠")  # noqa: RUF001


def cell(value: str) -> str:
    """Return a stranger's text for a cell: a spreadsheet must not take it for a formula."""
    value = text.fit(value).replace("\n", " ")
    return f"'{value}" if value.startswith(_FORMULA) else value


def _csv(rows: Iterable[Sequence[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerows(rows)
    return file.getvalue()


def of_moodle(results: Sequence[GradingResult]) -> bool:
    """Return whether the submissions came from Moodle."""
    return any(origin_of(result.submission, form=result.form).participant for result in results)


def gradebook(results: Sequence[GradingResult]) -> str:
    """Return the gradebook in the form of where the submissions came from: Moodle's worksheet, else Canvas's."""
    return moodle(results) if of_moodle(results) else canvas(results)


def moodle(results: Sequence[GradingResult]) -> str:
    """Return an offline grading worksheet; its feedback is HTML there."""
    header = ("Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)", "Feedback comments")
    rows = []
    for result in results:
        participant = origin_of(result.submission, form=result.form).participant
        identifier = f"Participant {participant}" if participant else ""
        points = (text.number(result.score), text.number(result.max_score))
        rows.append((identifier, cell(result.student), *points, "-", _feedback(result)))
    return _csv([header, *rows])


def _feedback(result: GradingResult) -> str:
    lines = [f"{result.verdict}: {text.reason(result)}"]
    lines += [
        f"{text.titled(test)}: {text.number(test.earned)} of {text.number(test.points)}"
        for test in text.shown_tests(result, over=False)
        if result.score is not None
    ]
    return "<br>".join(html.escape(cell(line)) for line in [*lines, *result.notes])


def canvas(results: Sequence[GradingResult]) -> str:
    """Return a gradebook as Canvas imports it: one assignment, named as the lab."""
    lab, most = (results[0].lab, results[0].max_score) if results else ("lab", 0.0)
    header = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", lab)
    rows = []
    for result in results:
        user = origin_of(result.submission, form=result.form).user
        canvas_id = user if user.isdigit() else ""
        rows.append((cell(result.student), canvas_id, "", "", "", text.number(result.score)))
    return _csv([header, ("    Points Possible", "", "", "", "", text.number(most)), *rows])


def scores(results: Sequence[GradingResult]) -> str:
    """Return all that there is, for people: a row a student, a column a test."""
    tests = [test.id for test in results[0].tests] if results else []
    header = ("Student", "Submission", "Verdict", "Score", "Of", "Bonus", "Late", "Penalty", "Image", "Reason", *tests)
    rows = []
    for result in results:
        earned = ["" if _undecided(test, result) else text.number(test.earned) for test in result.tests]
        about = (cell(result.student), cell(result.submission), str(result.verdict), text.number(result.score))
        late = ("yes" if result.late else "", text.number(result.penalty * 100))
        bonus = text.number(result.bonus) if result.max_bonus and result.score is not None else ""
        rows.append((*about, text.number(result.max_score), bonus, *late, result.image, cell(result.reason), *earned))
    return _csv([header, *rows])


def _undecided(test: TestResult, result: GradingResult) -> bool:
    """Whether nobody knows what a test is worth: it broke itself, or did not run because the lab broke."""
    not_run = test.outcome == "not-run" and result.verdict is Verdict.INFRA_ERROR
    return not_run or test.outcome == "infra-error"


def moodle_feedback(results: Sequence[GradingResult], pages: Sequence[str]) -> bytes:
    """Return the zip that Moodle takes as feedback files: each page in the folder that the submission came in."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for result, page in zip(results, pages, strict=True):
            origin = origin_of(result.submission, form=result.form)
            if origin.participant:
                student = re.sub(r"[/\\_]", " ", origin.student)
                folder = f"{student}_{origin.participant}_assignsubmission_file_"
                archive.writestr(zipfile.ZipInfo(f"{folder}/feedback.html"), page)
    return packed.getvalue()
