"""Everything that is made of results: gradebooks, feedback, and what other systems read. From results alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kmodlab.grading.report import formats, gradebook, pages, text
from kmodlab.grading.result import GradingResult


def write(results: Sequence[GradingResult], out: Path, *, over: bool = False) -> list[Path]:
    """Write all reports into a folder; the same results give the same files.

    Args:
        results: of a class, in their order.
        out: the folder, which is made.
        over: the lab is over: students see the tests that are to be seen afterwards.

    Returns:
        The files for the instructor.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = text.page_names(list(results))
    student_pages = [pages.student_html(result, over=over) for result in results]
    for result, name, page in zip(results, names, student_pages, strict=True):
        folder = out / "students" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "feedback.html").write_text(page, encoding="utf-8")
        (folder / "feedback.md").write_text(pages.student_markdown(result, over=over), encoding="utf-8")
        _json(folder / "gradescope.json", formats.gradescope(result))
        _json(folder / "prairielearn.json", formats.prairielearn(result, over=over))
    links = [f"students/{name}/feedback.html" for name in names]
    (out / "index.html").write_text(pages.class_html(results, links), encoding="utf-8")
    # Spreadsheets take a CSV file for UTF-8 where it begins with a mark; Moodle and Canvas need none.
    (out / "gradebook.csv").write_text(gradebook.gradebook(results), encoding="utf-8", newline="")
    (out / "scores.csv").write_text(gradebook.scores(results), encoding="utf-8-sig", newline="")
    (out / "junit.xml").write_bytes(formats.junit(results))
    written = [out / name for name in ("index.html", "gradebook.csv", "scores.csv", "junit.xml")]
    if gradebook.of_moodle(results):
        (out / "moodle-feedback.zip").write_bytes(gradebook.moodle_feedback(results, student_pages))
        written.append(out / "moodle-feedback.zip")
    return written


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
