"""What a failed build says, in a sentence."""

from __future__ import annotations

import pytest

from kmodlab.grading.compiler import explain, first_error, outdated


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("  CC [M]  a.o\na.c: In function 'f':\na.c:8:9: error: expected ';' before 'return'\n", "a.c:8: expected ';'"),
        ("a.c:2:10: fatal error: asm/system.h: No such file\n", "a.c:2: asm/system.h"),
        ('ERROR: modpost: "tasklist_lock" [a.ko] undefined!\n', '"tasklist_lock" [a.ko] undefined!'),
        ("make: *** No targets specified and no makefile found.  Stop.\n", "No targets specified"),
        ("Makefile:3: *** missing separator.  Stop.\n", "Makefile:3: *** missing separator."),
        ("head: No space left on device\nmake: *** [Makefile:4: all] Error 1\n", "head: No space left on device"),
        ("there is no C file\n", "there is no C file"),
        ("", "make printed nothing"),
    ],
)
def test_the_first_error_is_named(log: str, error: str) -> None:
    assert first_error(log).startswith(error)


@pytest.mark.parametrize(
    ("log", "since"),
    [
        (
            "a.c:9:5: error: passing argument 4 of 'proc_create' from incompatible pointer type\n"
            "note: expected 'const struct proc_ops *' but argument is of type 'struct file_operations *'\n",
            "5.6",
        ),
        ("a.c:9:5: error: 'struct task_struct' has no member named 'state'; did you mean '__state'?\n", "5.14"),
        ("a.c:9:5: error: implicit declaration of function 'init_timer'; did you mean 'init_timers'?\n", "4.15"),
        ("a.c:9:5: error: implicit declaration of function 'PDE_DATA'\n", "5.17"),
        ('a.c:9:30: error: macro "access_ok" passed 3 arguments, but takes just 2\n', "5.0"),
    ],
)
def test_code_for_an_older_kernel_is_called_that(log: str, since: str) -> None:
    change = outdated(log)
    assert change
    assert change.since == since
    assert f"before {since}" in explain(log, "6.1")


def test_a_plain_mistake_is_no_old_code() -> None:
    assert outdated("a.c:8:9: error: expected ';' before 'return'\n") is None
