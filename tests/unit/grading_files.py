"""The files of a graded class as whoever gets them reads them: each says the same."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from kmodlab.grading.report.text import number

_ROW = re.compile(r"<bdi>(.+?)</bdi></a>.*?badge\"[^>]*>(\S+?)</span>.*?class=\"number\">(\S+) / ([^\s<]+)", re.DOTALL)
_CLASS_FILES = ("index.html", "gradebook.csv", "scores.csv", "junit.xml")
_STUDENT_FILES = {"feedback.html", "feedback.md", "gradescope.json", "prairielearn.json"}
_OUTCOMES = {"failure": "failures", "error": "errors", "skipped": "skipped"}


@dataclass(frozen=True)
class Row:
    """A submission's verdict and points, as one file has them."""

    verdict: str
    score: str


def scores(out: Path) -> dict[str, dict[str, str]]:
    """Return the rows of scores.csv, by submission."""
    with (out / "scores.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {row["Submission"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def require_same_everywhere(out: Path) -> None:
    """Check that every file that is promised is there, and has the verdicts and points of scores.csv."""
    rows = {row["Student"]: Row(row["Verdict"], row["Score"]) for row in scores(out).values()}
    assert [name for name in _CLASS_FILES if not (out / name).is_file()] == []
    assert _gradebook(out) == {student: row.score for student, row in rows.items()}
    assert _index(out) == rows
    assert _junit(out) == rows
    folders = {folder.name: folder for folder in (out / "students").iterdir()}
    assert set(folders) == set(rows), "the students of these classes have names that are fit for folders"
    for student, folder in folders.items():
        assert {file.name for file in folder.iterdir()} == _STUDENT_FILES
        _require_student(folder, rows[student])


def _gradebook(out: Path) -> dict[str, str]:
    with (out / "gradebook.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    student, points = (1, 2) if header[0] == "Identifier" else (0, 5)
    found = {row[student]: row[points] for row in rows}
    if header[0] == "Student":
        assert found.pop("    Points Possible") == "100"
    return found


def _index(out: Path) -> dict[str, Row]:
    found = _ROW.findall((out / "index.html").read_text(encoding="utf-8"))
    assert {most for *_, most in found} == {"100"}
    return {student: Row(verdict, points) for student, verdict, points, _ in found}


def _junit(out: Path) -> dict[str, Row]:
    found = {}
    for suite in ElementTree.parse(out / "junit.xml").getroot():  # noqa: S314  # our own
        about = {item.get("name"): item.get("value", "") for item in suite.iter("property")}
        cases = list(suite.iter("testcase"))
        assert int(suite.get("tests", "")) == len(cases) > 0
        for tag, counted in _OUTCOMES.items():
            assert int(suite.get(counted, "")) == sum(case.find(tag) is not None for case in cases)
        bad = {case.get("name", "") for case in cases for tag in _OUTCOMES if case.find(tag) is not None}
        assert about["verdict"] != "pass" or all(name.startswith("Bonus: ") for name in bad)
        beyond = [case for case in cases if case.get("name", "").startswith("Bonus: ")]
        assert all(case.find("failure") is None for case in beyond), "what is beyond the core is no failure"
        found[suite.get("name", "")] = Row(about["verdict"], about["score"])
    return found


def _require_student(folder: Path, row: Row) -> None:
    scope = json.loads((folder / "gradescope.json").read_text(encoding="utf-8"))
    assert (scope["extra_data"]["verdict"], number(scope["score"])) == (row.verdict, row.score)
    assert number(sum(test["score"] for test in scope["tests"] if not test["name"].startswith("Bonus: "))) == row.score
    assert scope["output"].startswith(f"{row.verdict}: ")
    learn = json.loads((folder / "prairielearn.json").read_text(encoding="utf-8"))
    assert learn["gradable"] is True
    assert number(learn["score"] * 100) == row.score
    assert learn["output"].startswith(f"{row.verdict}: ")
    assert f"**{row.verdict}**, {row.score} of 100 points" in (folder / "feedback.md").read_text(encoding="utf-8")
    page = (folder / "feedback.html").read_text(encoding="utf-8")
    assert f">{row.verdict}</span>" in page
    assert f">{row.score} <small>of 100</small>" in page
