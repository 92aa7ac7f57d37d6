"""What a console's text and a machine's behaviour come to: nobody who broke a machine passes, nobody forges an oops."""

from __future__ import annotations

import pytest

from kmodlab.grading.result import Verdict
from kmodlab.grading.verdict import Evidence, Finding, Frame, find, judge, said_of, worst
from kmodlab.kernel_report import Kind

OOPS = """\
[    9.100000] BUG: kernel NULL pointer dereference, address: 0000000000000018
[    9.100100] #PF: supervisor read access in kernel mode
[    9.100200] Oops: 0000 [#1] PREEMPT SMP NOPTI
[    9.100300] CPU: 0 PID: 311 Comm: head Tainted: G           OE      6.1.0-56-cloud-amd64 #1
[    9.100400] RIP: 0010:list_show+0x10/0x30 [task_lister]
[    9.100500] Call Trace:
[    9.100600]  seq_read_iter+0x11f/0x460
[    9.100700] ---[ end trace 0000000000000000 ]---
"""
PANIC = "[   10.000000] Kernel panic - not syncing: the module does not like this machine\n"
ATOMIC = "[   11.0] BUG: scheduling while atomic: head/312/0x00000002\n[   11.1]  list_show+0x2a/0x40 [task_lister]\n"
LOCKUP = "[   30.0] watchdog: BUG: soft lockup - CPU#0 stuck for 11s! [head:313]\n"
HUNG = "[   30.0] INFO: task head:313 blocked for more than 8 seconds.\n"
WARNING = "[   12.0] WARNING: CPU: 0 PID: 320 at fs/proc/generic.c:718 remove_proc_entry+0x1a0/0x1c0\n"
SLUB = "[   13.0] kernel BUG at mm/slub.c:435!\n[   13.1] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI\n"
TWICE = """\
[   64.9] BUG kmalloc-64 (Tainted: G           OE     ): Object already free
[   64.9] Call Trace:
[   64.9]  object_err+0x8a/0xb6
[   64.9]  list_show+0x4a/0x53 [task_lister]
[   64.9]  seq_read_iter+0x122/0x450
[   64.9] FIX kmalloc-64: Object at 0xffff8c89c2f10880 not freed
"""
LATER = """\
[   65.3] list_add corruption. next->prev should be prev (ffff8c89), but was 0.
[   65.3] kernel BUG at lib/list_debug.c:33!
[   65.3] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI
[   65.3] RIP: 0010:__list_add_valid.cold+0x23/0x5b
[   65.3]  free_to_partial_list+0x385/0x4f0
"""
DIED, WARNED, LOCKED = 1 << 7, 1 << 9, 1 << 14


def seen(text: str = "", **more: object) -> Finding | None:
    """Judge a machine whose console shows this text."""
    return judge(Evidence("a test ran", tuple(find(text)), **more))  # type: ignore[arg-type]


def test_a_machine_without_trouble_is_no_finding() -> None:
    assert seen("[    1.0] Linux version 6.1\n[    2.0] task_lister: loaded\n[    3.0] debug: a bug\n") is None


@pytest.mark.parametrize(
    ("text", "kind", "lines"),
    [
        (OOPS, Kind.OOPS, 8),
        (PANIC, Kind.PANIC, 1),
        (ATOMIC, Kind.ATOMIC, 2),
        (LOCKUP, Kind.LOCKUP, 1),
        (HUNG, Kind.HUNG, 1),
        (WARNING, Kind.WARNING, 1),
        (SLUB, Kind.OOPS, 2),
    ],
)
def test_a_report_is_found_and_kept_whole(text: str, kind: Kind, lines: int) -> None:
    (report,) = find(f"[    1.0] before\n{text}")
    assert report.kind is kind
    assert len(report.text.splitlines()) == lines
    assert not report.line.startswith("[")


def test_what_was_left_on_the_stack_is_no_place_to_look() -> None:
    """A line with a ? is the place only where there is no other."""
    stale = "[    9.1]  ? snap_make+0x2c0/0x2c0 [task_lister]\n"
    (report,) = find(f"{ATOMIC.splitlines()[0]}\n{stale}{ATOMIC.splitlines()[1]}\n")
    assert report.frame(["task_lister"]) == Frame("list_show", 0x29, "task_lister")
    (report,) = find(f"{ATOMIC.splitlines()[0]}\n{stale}")
    assert report.frame(["task_lister"]) == Frame("snap_make", 0x2BF, "task_lister")


def test_reports_that_follow_each_other_are_several() -> None:
    assert [report.kind for report in find(OOPS + PANIC + WARNING)] == [Kind.OOPS, Kind.PANIC, Kind.WARNING]


def test_a_report_names_the_place_in_the_module() -> None:
    (report,) = find(OOPS)
    assert report.frame(["task_lister"]) == Frame("list_show", 0x10, "task_lister")
    assert report.frame(["other"]) is None
    (report,) = find(ATOMIC)
    assert report.frame(["task_lister"]) == Frame("list_show", 0x29, "task_lister"), "the call, not its return"


@pytest.mark.parametrize(
    ("text", "more", "verdict", "words"),
    [
        (OOPS, {"taint": DIED}, Verdict.OOPS, "NULL pointer"),
        (OOPS + PANIC, {"ended": True, "taint": None}, Verdict.PANIC, "NULL pointer"),
        (PANIC, {"ended": True, "taint": None}, Verdict.PANIC, "does not like"),
        (ATOMIC, {"taint": WARNED}, Verdict.OOPS, "scheduling while atomic"),
        (WARNING, {"taint": WARNED}, Verdict.OOPS, "remove_proc_entry"),
        (SLUB, {"taint": DIED}, Verdict.OOPS, "slub"),
        (LOCKUP, {"taint": LOCKED}, Verdict.HANG, "soft lockup"),
        (LOCKUP, {"taint": None, "timeout": "t did not end", "answers": False}, Verdict.HANG, "whole machine"),
        (HUNG, {"timeout": "t did not end"}, Verdict.HANG, "blocked"),
        ("", {"timeout": "t did not end"}, Verdict.HANG, "t did not end"),
        (OOPS, {"taint": DIED, "timeout": "t did not end"}, Verdict.OOPS, "NULL pointer"),
    ],
)
def test_what_happened_has_its_verdict(text: str, more: dict[str, object], verdict: Verdict, words: str) -> None:
    found = seen(text, **more)
    assert found
    assert found.verdict is verdict
    assert words in found.reason
    assert found.crashed


@pytest.mark.parametrize(
    ("text", "more", "verdict"),
    [
        (TWICE, {"taint": 1 << 5}, Verdict.OOPS),
        (TWICE + LATER, {"taint": 1 << 5 | DIED}, Verdict.OOPS),
        (TWICE + LATER + PANIC, {"taint": None, "ended": True}, Verdict.PANIC),
    ],
)
def test_what_the_kernel_found_first_is_what_is_told(text: str, more: dict[str, object], verdict: Verdict) -> None:
    """Who uses a broken list next is somebody else, or nobody in time: the words are the same."""
    found = seen(text, **more)
    assert found
    assert found.verdict is verdict
    assert found.reason.endswith("while a test ran: BUG kmalloc-64 (Tainted: G           OE     ): Object already free")
    assert found.trouble
    assert found.trouble.frame(["task_lister"]) == Frame("list_show", 0x49, "task_lister")


def test_a_machine_that_restarts_in_silence_has_panicked() -> None:
    found = seen(ended=True, taint=None)
    assert found
    assert found.verdict is Verdict.PANIC


@pytest.mark.parametrize("mark", [DIED, WARNED, LOCKED])
def test_a_silenced_console_hides_nothing(mark: int) -> None:
    found = seen(taint=mark)
    assert found
    assert found.verdict is Verdict.OOPS
    assert "silent" in found.reason


@pytest.mark.parametrize("text", [OOPS, PANIC, ATOMIC, LOCKUP, HUNG, WARNING, OOPS + PANIC])
def test_a_forged_report_is_no_oops_and_no_pass(text: str) -> None:
    found = seen(text, taint=0)
    assert found
    assert found.verdict is Verdict.FAIL
    assert not found.crashed
    assert "is none" in found.reason


def test_a_forged_report_does_not_hide_a_real_one() -> None:
    found = seen("[    1.0] Kernel panic - not syncing: joke\n" + OOPS, taint=DIED)
    assert found
    assert found.verdict is Verdict.OOPS
    assert "NULL pointer" in found.reason


def test_no_trouble_at_all_can_be_a_pass() -> None:
    """Whatever a console shows of the kinds that are known, there is a finding, with and without the kernel's mark."""
    for text in (OOPS, PANIC, ATOMIC, LOCKUP, HUNG, WARNING, SLUB):
        for taint in (None, 0, DIED, WARNED, LOCKED):
            for ended in (False, True):
                found = seen(text, taint=taint, ended=ended)
                assert found, (text, taint, ended)
                assert found.verdict is not Verdict.PASS


def test_of_several_machines_the_worst_counts() -> None:
    findings = [Finding(verdict, "") for verdict in (Verdict.FAIL, Verdict.LEAK, Verdict.PANIC, Verdict.OOPS)]
    decided = worst(findings)
    assert decided
    assert decided.verdict is Verdict.PANIC
    assert worst([]) is None


LOG = """\
[    2.1] my_list: loading out-of-tree module taints kernel.
[    2.2] my-list: cannot register (err -17)
[    2.3] my_list: module verification failed: signature and/or required key missing - tainting kernel
[    2.4] hrtimer: interrupt took 41234567 ns
[    2.5] not_my_list: hello
"""


def test_what_the_kernel_said_of_a_module_is_the_last_that_names_it_whatever_else_a_busy_kernel_says() -> None:
    assert said_of(LOG, ["my_list"]) == "my-list: cannot register (err -17)"
    assert said_of(LOG, ["other", "not_my_list"]) == "not_my_list: hello"
    assert said_of(LOG, ["list"]) == ""
    assert said_of("", ["my_list"]) == ""
