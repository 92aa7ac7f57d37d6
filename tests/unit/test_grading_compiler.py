"""What a failed build says, in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.grading.compiler import explain, first_error


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("  CC [M]  a.o\na.c: In function 'f':\na.c:8:9: error: expected ';' before 'return'\n", "a.c:8: expected ';'"),
        ("a.c:2:10: fatal error: asm/system.h: No such file\n", "a.c:2: asm/system.h"),
        ('ERROR: modpost: "tasklist_lock" [a.ko] undefined!\n', '"tasklist_lock" [a.ko] undefined!'),
        ("make: *** No targets specified and no makefile found.  Stop.\n", "No targets specified"),
        ("Makefile:3: *** missing separator.  Stop.\n", "Makefile:3: *** missing separator."),
        ("head: No space left on device\nmake: *** [Makefile:4: all] Error 1\n", "head: No space left on device"),
        (
            "g++ r.cpp -o r\nmake: g++: No such file or directory\nmake: *** [Makefile:4: all] Error 127\n",
            "g++: No such file or directory ([Makefile:4: all] Error 127)",
        ),
        ("there is no C file\n", "there is no C file"),
        ("", "make printed nothing"),
    ],
)
def test_the_first_error_is_named(log: str, error: str) -> None:
    assert first_error(log).startswith(error)


def test_the_line_that_names_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("# mine\nobj-m += listing_jiffies.o other.o\n")
    (tmp_path / "jiffies.c").write_text("")
    log = "make[2]: *** No rule to make target '/build/listing_jiffies.o', needed by '/build/'.  Stop.\n"
    wrong = "Makefile:2 asks for listing_jiffies.o, and there is no listing_jiffies.c, only jiffies.c: obj-m += "
    assert explain(log, "6.1", tmp_path).startswith(wrong)
    assert "No rule to make target" in explain(log.replace("listing_", "no_"), "6.1", tmp_path)


def test_what_kbuild_says_itself_counts_for_more_than_the_makefile() -> None:
    log = "make: *** No targets.  Stop.\n--- the module alone: make modules ---\na.c:8:9: error: expected ';'\n"
    assert "a.c:8: expected ';'" in explain(log, "6.1", Path("none"))
