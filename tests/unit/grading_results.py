"""Results for tests to work with: hostile in every text."""

from __future__ import annotations

from typing import Any

from kmodlab.grading.result import GradingResult, TestResult, Verdict


def one_test(name: str = "a", **changes: Any) -> TestResult:
    known: dict[str, Any] = {"id": name, "title": f"Test {name} holds", "points": 2.5, "earned": 2.5}
    return TestResult(**{**known, "outcome": "passed", **changes})


def one_result(**changes: Any) -> GradingResult:
    known: dict[str, Any] = {
        "key": "k",
        "student": "Zoë 张 \udcff",
        "submission": "Zoë_1_assignsubmission_file_",
        "lab": "task_lister",
        "image": "debian-12",
        "verdict": Verdict.FAIL,
        "reason": "One of two tests failed.",
        "tests": (one_test(), one_test("b", earned=0.0, outcome="failed", expected="\x00 1", seen='"<2>"\u2028')),
        "console": "[ 0.1] \x1b[1mbroken \ud800",
        "phases": {"build": 1.25, "boot": 0.1},
        "notes": ("a note",),
    }
    return GradingResult(**{**known, **changes})


HOSTILE = "<script>alert('1')</script> & \"quoted\" \u202eevil\u202c `x` | *y* ]]> \x1b[31mred\x1b[0m"


def a_class() -> list[GradingResult]:
    """Return results of every verdict, by students with every kind of name."""
    names = [
        "Ada Lovelace", "Zoë O'Neill", "张伟", "محمد علي", HOSTILE, "=HYPERLINK(\"http://x\")", "Grace Hopper", "Kim",
        "Kim", "Maximilian-Alexander von und zu Hohenstein-Wittgenstein der Jüngere", "Linus", "Margaret Hamilton",
    ]  # fmt: skip
    verdicts = [*Verdict, Verdict.PASS, Verdict.FAIL, Verdict.PASS]
    return [_student(place, name, verdict) for place, (name, verdict) in enumerate(zip(names, verdicts, strict=True))]


def _student(place: int, name: str, verdict: Verdict) -> GradingResult:
    ran = verdict not in (Verdict.BUILD_ERROR, Verdict.LOAD_ERROR, Verdict.INFRA_ERROR)
    good = 6 if verdict is Verdict.PASS else place % 5 if ran else 0
    titles = (
        "The file is there",
        "Every process is listed once",
        "States agree",
        "Memory agrees",
        "Any buffer size works",
    )
    tests = []
    for number in range(6):
        outcome = "passed" if number < good else "not-run" if not ran else "failed"
        if outcome == "failed" and number == good and verdict in (Verdict.OOPS, Verdict.PANIC, Verdict.HANG):
            outcome = "crashed"
        points = 2.0 + number / 2
        tests.append(
            one_test(
                f"t{number}", title=titles[number] if number < 5 else "It survives 10,000 readers", points=points,
                earned=points if outcome == "passed" else 0.0, outcome=outcome, seconds=0.5 * number,
                visibility=("visible", "after-due", "hidden")[max(0, number - 3)],
                expected="" if outcome == "passed" else f"42 {HOSTILE}",
                seen="" if outcome == "passed" else "41\nline 2",
            )
        )  # fmt: skip
    log = "".join(f"/build/lister.c:{line}:9: error: implicit declaration of 'foo' {HOSTILE}\n" for line in range(40))
    oops = "BUG: kernel NULL pointer dereference, address: 0000000000000008\nRIP: 0010:show+0x1c/0x50 [lister]\n"
    phases = {"build": 1.4 + place / 10, "slot": 0.3, "load": 0.2, "tests": 3.0 + place, "unload": 0.1} if ran else {}
    return one_result(
        key=f"{place:032x}", student=name, submission=f"{name}_{100 + place}_assignsubmission_file_", verdict=verdict,
        reason=f"The reason of {verdict}: {HOSTILE}", tests=tuple(tests), phases=phases or {"build": 1.2},
        build_log=log if verdict is Verdict.BUILD_ERROR else "make: done\n",
        oops=oops if verdict in (Verdict.OOPS, Verdict.PANIC) else "",
        console=f"[    1.0] lister: loaded {HOSTILE}\n" * 9,
        late=place == 6, penalty=0.1 if place == 6 else 0.0, graded_at="2030-01-31T12:00:00+00:00",
        notes=("Of 2 submissions the last counts, 'b.zip'; not graded: 'a.zip'.", HOSTILE) if place % 2 else (),
    )  # fmt: skip
