"""Reports: each in its published format, and nothing that a stranger wrote is more than text in them."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kmodlab.grading.report import formats, gradebook, pages, text, write
from kmodlab.grading.result import GradingResult, Verdict

from .grading_files import require_same_everywhere
from .grading_results import HOSTILE, a_class, one_result, one_test

CLASS = a_class()
PAGE_TAGS = {
    "html", "head", "meta", "title", "style", "body", "div", "h1", "h2", "p", "bdi", "span", "b", "ul", "li", "table",
    "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "details", "summary", "pre", "footer", "small", "section",
    "a", "code", "svg", "g", "rect", "text", "line",
}  # fmt: skip


MANY = [replace(r, submission=f"{n}-{r.submission.replace('_1', f'_{n}1')}") for n in range(30) for r in CLASS]


class Page(HTMLParser):
    """A page's tags, its attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag, which must be closed again."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag without content."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    write(CLASS, folder)
    return folder


def html_pages() -> Iterator[str]:
    yield pages.class_html(CLASS, [f"students/{name}/x.html" for name in text.page_names(CLASS)])
    for result in CLASS:
        yield pages.student_html(result)
        yield pages.student_html(result, over=True)


def test_pages_are_whole_and_have_no_tag_of_a_stranger() -> None:
    for source in html_pages():
        page = Page(source)
        assert not page.open
        assert set(page.tags) <= PAGE_TAGS
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert not [value for name, value in page.attributes if name in ("href", "src") and ":" in value]
        assert "default-src 'none'" in source
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", source)


def test_what_a_stranger_wrote_is_shown_as_it_is() -> None:
    page = Page(pages.student_html(CLASS[4]))
    assert "<script>alert('1')</script> & \"quoted\" evil`x`" in page.text.replace("�", "").replace(" `x`", "`x`")


def test_hidden_tests_stay_hidden() -> None:
    failed = replace(CLASS[1], reason="3 of 6 tests failed: t1, t3, t5")
    assert text.reason(failed) == "5 of 6 tests did not pass."
    for over in (False, True):
        everything = [
            pages.student_html(failed, over=over), pages.student_markdown(failed, over=over),
            json.dumps(formats.prairielearn(failed, over=over)), gradebook.moodle([failed]),
        ]  # fmt: skip
        for shown in everything:
            assert "10,000 readers" not in shown
            assert "t5" not in shown
            assert failed.reason not in shown
    assert "Any buffer size" not in pages.student_html(failed)
    assert "Any buffer size" in pages.student_html(failed, over=True)
    assert "Any buffer size" in pages.student_markdown(failed, over=True)


def test_a_crash_does_not_name_the_hidden_test() -> None:
    tests = (one_test("open"), one_test("secret", visibility="hidden", outcome="crashed", earned=0.0))
    crashed = one_result(verdict=Verdict.OOPS, tests=tests, reason="It oopsed while the test secret ran.")
    assert text.reason(crashed) == "It oopsed while a test that is not shown ran."
    assert "secret" not in pages.student_html(crashed)
    assert text.reason(replace(crashed, reason="while the test open ran")) == "while the test open ran"


def test_what_was_not_run_says_why() -> None:
    why = "not run: the 600 s that this lab gives a submission were over"
    left = one_test("b", earned=0.0, outcome="not-run", seen=why)
    cut = one_result(verdict=Verdict.HANG, reason="It hangs.", tests=(one_test(), left))
    shown = [pages.student_html(cut), pages.student_markdown(cut), formats.gradescope(cut)["tests"][1]["output"]]
    shown += [formats.prairielearn(cut)["tests"][1]["output"], formats.junit([cut]).decode()]
    assert [page.count(why) > 0 for page in shown] == [True] * 5


def test_what_did_not_pass_comes_first() -> None:
    outcomes = ("passed", "not-run", "failed", "passed", "crashed")
    tests = tuple(one_test(f"t{n}", outcome=o, earned=0.0) for n, o in enumerate(outcomes))
    mixed = one_result(tests=tests)
    for page in (pages.student_html(mixed), pages.student_markdown(mixed), pages.student_text(mixed)):
        assert re.findall(r"Test (t\d) holds", page.partition("### ")[0]) == ["t4", "t2", "t1", "t0", "t3"]


def test_a_page_says_what_was_asked_seen_and_hinted_at() -> None:
    failed = one_test(outcome="failed", earned=0.0, expected="a line for 812", seen="nothing", hint="Do you list it?")
    result = one_result(tests=(failed,))
    shown = [pages.student_html(result), pages.student_markdown(result), pages.student_text(result)]
    shown += [formats.gradescope(result)["tests"][0]["output"], formats.prairielearn(result)["tests"][0]["output"]]
    for page in shown:
        assert [page.count(words) > 0 for words in ("a line for 812", "nothing", "Do you list it?")] == [True] * 3


def test_where_our_log_is_is_for_the_instructor() -> None:
    broken = one_result(verdict=Verdict.INFRA_ERROR, reason="The lab itself broke: no disk (details: /root/x.log)")
    assert text.reason(broken) == "The lab itself broke: no disk"
    assert "/root/x.log" in pages.class_html([broken], ["x"])


def test_what_stands_in_marks_is_code_and_a_table_keeps_its_columns() -> None:
    failed = one_test(outcome="failed", earned=0.0, expected="a line `812 <b>`", seen="row 1: a\nrow 2: b")
    page = pages.student_html(one_result(tests=(failed,)))
    assert "<dd>a line <code>812 &lt;b&gt;</code></dd>" in page
    assert '<dd class="rows">row 1: a\nrow 2: b</dd>' in page


def test_a_page_lists_what_was_handed_in_and_how_it_was_graded() -> None:
    result = one_result(files=(("Makefile", 153), (f"src/{HOSTILE}.c", 2048)), seed=4711, notes=("one link left out",))
    for page in (pages.student_html(result), pages.student_markdown(result), pages.student_text(result)):
        words = ("Makefile", "153", "2048", "seed: 4711", "image: debian-12", "one link left out", "build 1.2 s")
        assert [word for word in words if word not in page.replace("\\", "")] == []
    assert "No file that could be taken" in pages.student_html(one_result(files=()))


def test_a_test_that_broke_is_told_to_the_instructor_and_not_blamed_on_the_student() -> None:
    fault = "test_lab.py:7: KeyError: 'PID'"
    broken = one_test("b", outcome="infra-error", earned=0.0, seen="This test of the lab broke.", fault=fault)
    result = one_result(verdict=Verdict.INFRA_ERROR, tests=(one_test(), broken), reason="not graded, in the test b")
    assert fault in Page(pages.class_html([result], ["x"])).text
    assert fault in formats.junit([result]).decode().replace("&apos;", "'")
    for page in (pages.student_html(result), pages.student_markdown(result), pages.student_text(result)):
        assert "KeyError" not in page
        assert "This test of the lab broke." in page
    header, row = rows_of(gradebook.scores([result]))
    assert dict(zip(header, row, strict=True)) | {"Score": "", "a": "2.5", "b": ""} == dict(
        zip(header, row, strict=True)
    )


def test_the_heading_of_a_table_is_never_broken() -> None:
    style = pages.render("style.css.j2")
    assert re.search(r"^th \{ white-space: nowrap; overflow-wrap: normal;", style, re.MULTILINE)
    assert re.search(r"^\.mark \{ [^}]*white-space: nowrap", style, re.MULTILINE)


def test_an_ungraded_one_shows_no_points() -> None:
    (broken,) = [result for result in CLASS if result.verdict is Verdict.INFRA_ERROR]
    page = Page(pages.student_html(broken)).text
    assert "not graded" in page
    assert "This is no zero" in page
    assert " of 19.5" not in page


def test_the_class_page_has_its_plots() -> None:
    page = Page(next(html_pages()))
    assert page.tags.count("svg") == 3
    for words in ("Scores", "Verdicts", "Tests passed", "Slowest", "1 not graded", "build-error", "张伟", "median"):
        assert words in page.text


def test_the_class_page_names_each_test_whole_and_how_many_pass_it() -> None:
    title = "Processes that are traced by others, whose main thread has ended, or with odd ids are shown as they are"
    tests = [replace(one_test(), title=title), replace(one_test(outcome="failed", earned=0.0), title=title)]
    page = pages.class_html([one_result(tests=(test,)) for test in (*tests, tests[1])], ["x"] * 3)
    assert f'<tr title="1 of 3"><td>{title}</td><td class="number">33 %</td>' in page


@pytest.mark.parametrize("results", [[], CLASS[:1], [r for r in CLASS if r.score is None], MANY])
def test_classes_of_any_size(results: list[GradingResult], tmp_path: Path) -> None:
    write(results, tmp_path)
    assert not Page((tmp_path / "index.html").read_text()).open
    assert len(list((tmp_path / "students").glob("*"))) == len(results)


@pytest.mark.parametrize("bonus", [(), (0.0,), (10.0, 0.0)], ids=["none", "none-earned", "earned"])
def test_every_file_says_the_same(bonus: tuple[float, ...], tmp_path: Path) -> None:
    names = {"ada": (60.0, 40.0), "bob": (60.0, 0.0), "eve": (0.0, 0.0)}
    write(
        [_with_bonus(name, earned, bonus if name == "ada" else (0.0,) * len(bonus)) for name, earned in names.items()],
        tmp_path,
    )
    require_same_everywhere(tmp_path)


def _with_bonus(name: str, earned: tuple[float, ...], bonus: tuple[float, ...]) -> GradingResult:
    tests = [
        one_test(f"t{place}", points=points, earned=got, outcome="passed" if got else "failed")
        for place, (points, got) in enumerate(zip((60.0, 40.0), earned, strict=True))
    ] + [
        one_test(f"b{place}", points=10.0, earned=got, outcome="passed" if got else "failed", bonus=True)
        for place, got in enumerate(bonus)
    ]
    verdict = Verdict.PASS if sum(earned) == 100 else Verdict.FAIL
    return one_result(key=name, student=name, submission=name, verdict=verdict, tests=tuple(tests))


def test_the_same_results_give_the_same_files(out: Path, tmp_path: Path) -> None:
    write(CLASS, tmp_path)
    first = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert first == again


def test_each_student_has_a_folder_of_ascii(out: Path) -> None:
    names = [path.name for path in (out / "students").iterdir()]
    assert len(names) == len(CLASS)
    assert all(re.fullmatch(r"[a-z0-9_-]+", name) for name in names)


# Markdown


def test_markdown_has_no_markup_of_a_stranger() -> None:
    source = pages.student_markdown(CLASS[1])
    outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", source)
    assert "<" not in outside
    assert not re.search(r"(?<!\\)[`]", outside)
    assert "\n\n\n\n" not in source


def test_a_log_cannot_end_its_own_block() -> None:
    log = "```\n# not a title\n````\n"
    source = pages.student_markdown(one_result(build_log=log))
    assert f"`````text\n{log}`````" in source


# Gradescope

GRADESCOPE = {
    "score", "execution_time", "output", "output_format", "test_output_format", "test_name_format", "visibility",
    "stdout_visibility", "extra_data", "tests", "leaderboard",
}  # fmt: skip
GRADESCOPE_TEST = {
    "score", "max_score", "status", "name", "name_format", "number", "output", "output_format", "tags", "visibility",
    "extra_data",
}  # fmt: skip
VISIBILITIES = {"hidden", "after_due_date", "after_published", "visible"}


@pytest.mark.parametrize("result", CLASS, ids=lambda result: str(result.verdict))
def test_gradescope(result: GradingResult) -> None:
    """Every key is a documented one, with a value of its kind."""
    known: dict[str, Any] = json.loads(json.dumps(formats.gradescope(result)))
    assert set(known) <= GRADESCOPE
    assert known["stdout_visibility"] in VISIBILITIES
    assert all(
        known[key] in ("text", "html", "simple_format", "md", "ansi") for key in known if key.endswith("_format")
    )
    for test in known["tests"]:
        assert set(test) <= GRADESCOPE_TEST
        assert test["status"] in ("passed", "failed")
        assert test.get("visibility", "visible") in VISIBILITIES
        assert isinstance(test["output"], str)
    if result.score is None:
        assert "score" not in known
        assert all("score" not in test for test in known["tests"])
    else:
        assert known["score"] == result.score
        assert sum(test["max_score"] for test in known["tests"]) == result.max_score
        assert [test["visibility"] for test in known["tests"]][3:] == ["visible", "after_due_date", "hidden"]


# PrairieLearn


@pytest.mark.parametrize("result", CLASS, ids=lambda result: str(result.verdict))
def test_prairielearn(result: GradingResult) -> None:
    """A score from 0 to 1, or not gradable; under a megabyte."""
    written = json.dumps(formats.prairielearn(replace(result, build_log=result.build_log * 2000)))
    assert len(written) < 1_000_000
    known = json.loads(written)
    if result.score is None:
        assert known == {"gradable": False, "format_errors": [text.fit(result.reason)]}
        return
    assert known["gradable"] is True
    assert 0 <= known["score"] <= 1
    assert known["score"] == pytest.approx(result.score / result.max_score, abs=1e-6)
    kinds = {"name": str, "description": str, "points": float, "max_points": float, "message": str, "output": str}
    for test in known["tests"]:
        assert {key: type(value) for key, value in test.items()} == kinds


# JUnit

ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "group", "time", "skipped", "timestamp", "hostname", "id"},
    "testcase": {"name", "time", "classname", "group"},
    "properties": set(),
    "property": {"name", "value"},
    "failure": {"type", "message"}, "error": {"type", "message"}, "skipped": {"type", "message"},
    "system-out": set(), "system-err": set(),
}  # fmt: skip
CHILDREN = {
    "testsuites": {"testsuite"}, "testsuite": {"properties", "testcase", "system-out", "system-err"},
    "testcase": {"failure", "error", "skipped"}, "properties": {"property"},
}  # fmt: skip


def test_junit() -> None:
    """What the schema allows, and nothing else; the counts are those of the cases."""
    root = ElementTree.fromstring(formats.junit(CLASS))  # noqa: S314  # written by ourselves
    for element in root.iter():
        assert set(element.attrib) <= ATTRIBUTES[element.tag]
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == [text.fit(result.student) for result in CLASS]
    for suite in suites:
        assert re.fullmatch(r"[0-9]{1,3}\.[0-9]*", suite.get("time", ""))
        cases = suite.findall("testcase")
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(count, "")) == sum(case.find(tag) is not None for case in cases)
        assert int(suite.get("tests", "")) == len(cases) == 6


# Gradebooks


def rows_of(source: str) -> list[list[str]]:
    assert source.endswith("\r\n")
    return list(csv.reader(io.StringIO(source, newline="")))


def test_moodle() -> None:
    """The columns that the importer looks for; a grade is a number up to the maximum, or empty: not graded."""
    header, *rows = rows_of(gradebook.gradebook(CLASS))
    assert {"Identifier", "Grade", "Last modified (grade)", "Feedback comments"} <= set(header)
    assert [row[0] for row in rows] == [f"Participant {100 + place}" for place in range(12)]
    for row, result in zip(rows, CLASS, strict=True):
        known = dict(zip(header, row, strict=True))
        assert known["Grade"] == text.number(result.score)
        assert (known["Grade"] == "") is (result.verdict is Verdict.INFRA_ERROR)
        assert float(known["Grade"] or 0) <= float(known["Maximum Grade"])
        assert "<script" not in known["Feedback comments"]
        assert set(re.findall(r"<(\w+)", known["Feedback comments"])) <= {"br"}


def test_canvas() -> None:
    """Student, ID, SIS User ID, SIS Login ID, Section, then the assignment; `Points Possible` below the header."""
    names = ("doejane_123_456_lab.zip", "roerichard_LATE_124_457_lab.zip", "anon_Xy9_460_x.c", "alice.zip")
    results = [one_result(student=name.partition("_")[0], submission=name) for name in names]
    header, possible, *rows = rows_of(gradebook.gradebook(results))
    assert header == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "task_lister"]
    assert possible[0].strip() == "Points Possible"
    assert possible[-1] == "5"
    assert [row[1] for row in rows] == ["123", "124", "", ""]
    assert [row[-1] for row in rows] == ["2.5"] * 4
    assert {len(row) for row in [header, possible, *rows]} == {6}


def test_canvas_leaves_what_is_not_graded_empty() -> None:
    rows = rows_of(gradebook.canvas([one_result(verdict=Verdict.INFRA_ERROR)]))
    assert rows[2][-1] == ""


def test_what_costs_points_comes_first_and_bonus_that_was_not_reached_last() -> None:
    outcomes = (("a", "failed", True), ("b", "passed", False), ("c", "failed", False), ("d", "passed", True))
    tests = tuple(one_test(name, outcome=outcome, bonus=bonus) for name, outcome, bonus in outcomes)
    page = pages.student_markdown(one_result(tests=tests))
    rows = [page.index(f"| {title} |") for title in ("Test c holds", "Test b holds", "Bonus: Test d holds")]
    assert [*rows, page.index("| Bonus: Test a holds |")] == sorted([*rows, page.index("| Bonus: Test a holds |")])


def test_bonus_is_told_beside_the_score_and_adds_nothing_to_it() -> None:
    more = (one_test("c", bonus=True, points=9.0, earned=8.0), one_test("d", bonus=True, points=1.0, earned=1.0))
    result = one_result(tests=(*one_result().tests, *more))
    assert "2.5 <small>of 5</small> <small>bonus 9 of 10</small>" in pages.student_html(result)
    assert "<td>Bonus: Test c holds" in pages.student_html(result)
    assert "2.5 of 5 points, bonus 9 of 10" in pages.student_markdown(result)
    assert formats.gradescope(result)["score"] == 2.5
    assert formats.gradescope(result)["tests"][2]["name"] == "Bonus: Test c holds"
    assert formats.prairielearn(result)["score"] == 0.5
    (row,) = csv.DictReader(io.StringIO(gradebook.scores([result])))
    assert (row["Score"], row["Of"], row["Bonus"]) == ("2.5", "5", "9")
    assert "2.5 / 5 <small>bonus 9</small>" in pages.class_html([result], ["ada.html"])
    assert "bonus" not in pages.student_html(one_result()) + pages.class_html([one_result()], ["ada.html"])


def test_scores_has_a_column_a_test() -> None:
    header, *rows = rows_of(gradebook.scores(CLASS))
    assert header[-6:] == [f"t{number}" for number in range(6)]
    assert len(rows) == 12
    broken = rows[[*Verdict].index(Verdict.INFRA_ERROR)]
    assert broken[3] == ""
    assert set(broken[-6:]) == {""}


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(start: str) -> None:
    hostile = one_result(student=start, submission=start, reason=start, notes=(start,))
    for source in (gradebook.moodle([hostile]), gradebook.canvas([hostile]), gradebook.scores([hostile])):
        for row in rows_of(source):
            assert not [value for value in row if re.match(r"[=+@\t\r]|-.", value)]


def test_moodles_feedback_lies_in_the_folders_of_the_download(out: Path) -> None:
    with zipfile.ZipFile(out / "moodle-feedback.zip") as archive:
        names = archive.namelist()
        assert archive.read(names[0]).startswith(b"<!doctype html>")
    assert names[0] == "Ada Lovelace_100_assignsubmission_file_/feedback.html"
    assert len(set(names)) == 12


# Text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"), ("\x1b]0;title\x07x", "x"), ("a\r\nb\rc", "a\nb\nc"), ("a\x00b", "a�b"),
        ("\ud800", "�"), ("tab\tstays", "tab\tstays"), ("\u2028", "�"), ("\x85", "�"), ("é😀", "é😀"),
    ],
)  # fmt: skip
def test_text_is_made_fit(value: str, shown: str) -> None:
    assert text.fit(value) == shown


@pytest.mark.parametrize(("value", "written"), [(None, ""), (0.0, "0"), (2.5, "2.5"), (10.0, "10"), (1 / 3, "0.33")])
def test_points_are_written_short(value: float | None, written: str) -> None:
    assert text.number(value) == written


def test_every_verdict_has_its_meaning() -> None:
    assert set(text.MEANING) == set(Verdict) == set(pages.COLOURS)


def test_a_huge_log_is_cut() -> None:
    huge = one_result(build_log="x" * 5_000_000, console="y" * 5_000_000, oops="z" * 5_000_000)
    assert len(pages.student_html(huge)) < 300_000
    assert "characters left out" in pages.student_html(huge)
    assert len(formats.junit([huge])) < 500_000


def test_hostile_is_hostile() -> None:
    assert one_test(title=HOSTILE).title == HOSTILE
