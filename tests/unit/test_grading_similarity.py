"""Likeness: a copy with other names is found, the starter's code and work of one's own are not."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from kmodlab.errors import LabError
from kmodlab.grading.intake import Submission
from kmodlab.grading.similarity import compare, page

from .grading_results import HOSTILE

STARTER = """#include <linux/module.h>
static int value; static int other;
int helper(int a, int b) { int i; for (i = 0; i < b; i++) a += i * b; return a - b; }
MODULE_LICENSE("GPL");
"""
WORK = """static int show(struct seq_file *m, void *v) {
	struct task_struct *task; unsigned long count = 0;
	rcu_read_lock();
	for_each_process(task) { if (task->mm && !(task->flags & PF_KTHREAD)) count += task->mm->total_vm; }
	rcu_read_unlock();
	seq_printf(m, "%lu %d\\n", count, value);
	return count > 10 ? 0 : -EINVAL;
}
"""
OTHER = """static ssize_t give(struct file *f, char __user *b, size_t n, loff_t *o) {
	char text[32]; int len = scnprintf(text, sizeof(text), "%ld", jiffies);
	while (len % 4) text[len++] = ' ';
	switch (n) { case 0: return 0; case 1: return -EFAULT; default: break; }
	return simple_read_from_buffer(b, n, o, text, len);
}
"""


def hand_in(folder: Path, student: str, code: str, **more: Any) -> Submission:
    place = folder / str(len(list(folder.iterdir())))
    place.mkdir()
    (place / "lister.c").write_text(code)
    return Submission(student, student, place, **more)


def test_a_copy_with_other_names_is_found(tmp_path: Path) -> None:
    starter = tmp_path / "starter"
    starter.mkdir()
    (starter / "lister.c").write_text(STARTER)
    renamed = re.sub(r"\bcount\b", "sum", WORK).replace("show", "print_all").replace("\t", "  ")
    handed = [
        hand_in(tmp_path, "ada", STARTER + WORK),
        hand_in(tmp_path, "bob", STARTER + OTHER),
        hand_in(tmp_path, HOSTILE, STARTER + f"/* {HOSTILE} */\n" + renamed),
        hand_in(tmp_path, "eve", STARTER),
        hand_in(tmp_path, "bad", WORK, problems=("It is a bomb.",)),
        hand_in(tmp_path, "empty", ""),
    ]
    (pair,) = compare(handed, starter)
    assert pair.students == ("ada", HOSTILE)
    assert min(pair.shares) > 0.8
    assert "<mark>" in pair.code[0]
    assert "<script" not in pair.code[1]
    shown = page([pair], "lister")
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_without_copydetect_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "copydetect.detector", None)
    with pytest.raises(LabError, match="copydetect is not installed"):
        compare([hand_in(tmp_path, "ada", WORK)], None)


def test_no_pair() -> None:
    assert "None." in page([], "lister")
