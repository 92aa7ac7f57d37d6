"""`kmodlab tasks`: what it asks the kernel for, what it makes of the answer, and an answer that is not whole."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from kmodlab.errors import KmodlabError, ModuleUnavailable, UsageError
from kmodlab.modules.tasks import Lister, Pass, as_tree, main, ordered, parsed, shown

INIT = {"pid": 1, "ppid": 0, "uid": 0, "state": "SLEEPING", "threads": 1, "rss": 12000, "user": 2, "system": 3}
ROWS = [
    {**INIT, "comm": "systemd"},
    {**INIT, "pid": 2, "rss": None, "comm": "kthreadd"},
    {**INIT, "pid": 40, "ppid": 1, "rss": 3 << 20, "user": 61 * 10**9, "comm": r"a\040b"},
    {**INIT, "pid": 41, "ppid": 40, "rss": 900, "comm": "child"},
    {**INIT, "pid": 50, "ppid": 1, "rss": 5, "comm": "other"},
]


def page(
    rows: list[dict[str, Any]], number: int = 7, *, wrong_sum: bool = False, count: int | None = None, **of_ended: int
) -> str:
    """A pass as the kernel writes it."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    told = {"pass": number, "begin": 10, "end": 20, "rows": len(rows) if count is None else count}
    return text + json.dumps({**told, "crc32": zlib.crc32(text.encode()) ^ wrong_sum, **of_ended}) + "\n"


class Fake(Lister):
    """A lister whose kernel answers with what it is given."""

    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self.answers, self.asked = list(answers), list[str]()

    def look(self, words: str) -> Pass:
        self.asked.append(words)
        if not self.answers:
            raise KeyboardInterrupt
        rows = self.answers.pop(0)
        number = int(dict(word.split("=") for word in words.split()).get("ended", -1))
        if number < 0:
            return parsed(page(rows, len(self.asked)))
        # As if one in four were missed.
        return parsed(page(rows, len(self.asked), missed=max(number - 4, 0), next=number + len(rows) + 4))

    def __exit__(self, *_: object) -> None:
        pass


def run(words: str, *answers: list[dict[str, Any]]) -> Fake:
    fake = Fake(*answers)
    assert main(words.split(), lambda: fake, lambda _: None) == 0
    return fake


def test_what_is_chosen_is_told_to_the_kernel() -> None:
    fake = run("-p 1,8-12 --ppid 2 -u 1000 -s RD -C nginx* -k -L -o pid,tid,comm --sort=-rss", ROWS[:0])
    assert fake.asked == [
        "columns=pid,tid,comm,rss pid=1,8-12 ppid=2 uid=1000 state=RD comm=nginx* kthreads=1 threads=1"
    ]
    assert run("", ROWS).asked == ["columns=pid,ppid,uid,state,threads,rss,user,system,comm kthreads=0 threads=0"]
    assert run("-L", []).asked[0].startswith("columns=pid,tid,ppid,")
    assert run("--tree -o rss", []).asked[0].startswith("columns=rss,pid,ppid,comm ")


@pytest.mark.parametrize("words", [["-C", "a b"], ["-p", ""], ["-C", "x\nkthreads=1"]])
def test_no_word_is_smuggled_in(words: list[str]) -> None:
    with pytest.raises(UsageError, match="is no word"):
        main(words, lambda: Fake(ROWS))


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    run("", ROWS)
    assert capsys.readouterr().out == (
        "PID PPID UID STATE    THREADS   RSS    USER  SYSTEM COMM\n"
        "  1    0   0 SLEEPING       1 11.7M 0:00.00 0:00.00 systemd\n"
        "  2    0   0 SLEEPING       1     - 0:00.00 0:00.00 kthreadd\n"
        " 40    1   0 SLEEPING       1  3.0G 1:01.00 0:00.00 a\\040b\n"
        " 41   40   0 SLEEPING       1  900K 0:00.00 0:00.00 child\n"
        " 50    1   0 SLEEPING       1    5K 0:00.00 0:00.00 other\n"
    )


def test_values_as_people_read_them() -> None:
    assert [shown("rss", kib) for kib in (0, 1023, 1024, 100 << 10, 1 << 30, None)] == [
        "0K", "1023K", "1.0M", "100M", "1.0T", "-",
    ]  # fmt: skip
    assert [shown("user", int(seconds * 1e9)) for seconds in (0, 59.99, 3599, 3600, 90061)] == [
        "0:00.00", "0:59.99", "59:59.00", "1h00m", "25h01m",
    ]  # fmt: skip
    assert (shown("comm", "x"), shown("nice", -5)) == ("x", "-5")


def test_sorted_with_what_is_not_known_last() -> None:
    assert [row["pid"] for row in ordered(ROWS, "-rss")] == [40, 1, 41, 50, 2]
    assert [row["pid"] for row in ordered(ROWS, "rss")] == [50, 41, 1, 40, 2]


def test_by_descent() -> None:
    assert [(row["pid"], row["comm"]) for row in as_tree(ROWS)] == [
        (1, "systemd"),
        (40, r"  a\040b"),
        (41, "    child"),
        (50, "  other"),
        (2, "kthreadd"),
    ]
    assert [row["pid"] for row in as_tree(ROWS[3:])] == [41, 50], "whose parent was not chosen begins a tree"


def test_json_has_the_kernels_own_values(capsys: pytest.CaptureFixture[str]) -> None:
    run("--json -o comm,rss --sort pid", ROWS)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"comm": row["comm"], "rss": row["rss"]} for row in ROWS]


def test_changes_are_watched(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = ({"id": number << 22 | 1, "pid": number, "state": "RUNNING", "comm": "x"} for number in (4, 5))
    gone = {"id": one["id"], "pid": 4, "state": None, "comm": None}
    fake = run("--watch 1 -o pid,comm", [one], [one, two], [], [gone])
    assert [words.split()[-1] for words in fake.asked] == ["since=0", "since=1", "since=2", "since=3", "since=4"]
    assert capsys.readouterr().out.splitlines() == [
        "  PID COMM", "+   4 x", "  PID COMM", "~   4 x", "+   5 x", "  PID COMM", "-   4 x",
    ]  # fmt: skip
    run("--watch 1 -o pid --json", [one], [gone])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"change": "+", "at": 10, "pid": 4},
        {"change": "-", "at": 10, "pid": 4},
    ]
    with pytest.raises(UsageError, match="seconds"):
        main(["--watch", "0"], Fake)


ENDED = [
    {"pid": 7, "ppid": 1, "uid": 0, "code": code, "user": 2 * 10**9, "system": 0, "comm": "x"} for code in (0, 768)
]


def test_who_has_ended_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--ended -u 0", ENDED).asked == [
        "columns=pid,ppid,uid,code,user,system,comm uid=0 kthreads=0 threads=0 ended=0"
    ]
    assert capsys.readouterr().out.splitlines() == [
        "PID PPID UID CODE    USER  SYSTEM COMM",
        "  7    1   0 0    0:02.00 0:00.00 x",
        "  7    1   0 3    0:02.00 0:00.00 x",
    ]
    run("--ended --json -o pid,code", ENDED)
    assert [json.loads(line)["code"] for line in capsys.readouterr().out.splitlines()] == [0, 768]
    run("--ended --sort=-code -o code", ENDED)
    assert capsys.readouterr().out.splitlines() == ["CODE", "3", "0"]


def test_codes_as_people_read_them() -> None:
    codes = (0, 3 << 8, 255 << 8, 9, 6 | 0x80, 33)
    assert [shown("code", code) for code in codes] == ["0", "3", "255", "SIGKILL", "SIGABRT+core", "SIG33"]


def test_who_ends_is_followed_and_who_was_missed_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    fake = run("--ended --watch 1 -o pid,code", ENDED, [], ENDED[:1])
    assert [words.split()[-1] for words in fake.asked] == ["ended=0", "ended=6", "ended=10", "ended=15"]
    output, errors = capsys.readouterr()
    assert output.splitlines() == ["PID CODE", "  7 0", "  7 3", "PID CODE", "  7 0"]
    assert [line.split()[1] for line in errors.splitlines() if "remember" in line] == ["2", "6"]
    assert "a larger ended=" in errors


def test_what_goes_not_with_who_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--tree is of who lives"):
        main(["--ended", "--tree"], Fake)
    with pytest.raises(SystemExit):
        main(["--ended", "-L"], Fake)
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        page(ROWS, wrong_sum=True),
        page(ROWS, count=4),
        "\n".join(page(ROWS).splitlines()[1:]),
        page(ROWS)[:-30],
        "",
        "PID      PPID     COMMAND\n1 0 systemd\n",
    ],
    ids=["sum", "count", "a row is missing", "cut", "empty", "a table"],
)
def test_a_pass_that_is_not_whole_is_none(text: str) -> None:
    with pytest.raises(KmodlabError, match=r"gave"):
        parsed(text)


def test_bytes_of_any_kind_are_summed_as_they_are() -> None:
    row = json.dumps({"pid": 1, "comm": "na\xefve"}, ensure_ascii=False) + "\n"
    end = json.dumps({"pass": 1, "begin": 1, "end": 2, "rows": 1, "crc32": zlib.crc32(row.encode("latin-1"))})
    assert parsed(f"{row}{end}\n").rows == [{"pid": 1, "comm": "na\xefve"}]


def test_who_may_not_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleUnavailable, match="not loaded") as none:
        Lister(tmp_path / "none")
    assert "modprobe" in str(none.value.hint)

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(UsageError, match="Permission denied") as denied:
        Lister()
    assert denied.value.hint == "to choose tasks takes root: sudo kmodlab tasks"


def test_what_the_kernel_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with Lister(tmp_path / "file") as lister:

        def refused(*_: object) -> int:
            raise OSError(22, "Invalid argument")

        monkeypatch.setattr(os, "write", refused)
        with pytest.raises(UsageError, match="the kernel refuses `columns=x`: Invalid argument"):
            lister.look("columns=x")
