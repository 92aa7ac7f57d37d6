"""The console's signs of trouble, in the kernel's own words, and what only looks like them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmodlab.errors import GuestCrashed
from kmodlab.vm.console import Log

TROUBLE = [
    "Kernel panic - not syncing: sysrq triggered crash",
    "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
    "BUG: kernel NULL pointer dereference, address: 0000000000000000",
    "BUG: unable to handle page fault for address: ffffffffc0a01234",
    "BUG: scheduling while atomic: cat/812/0x00000002",
    "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
    "BUG: Bad page state in process cat  pfn:1a2b3",
    "BUG: KASAN: slab-use-after-free in tl_show+0x1c/0x90 [task_lister]",
    "kernel BUG at lib/list_debug.c:56!",
    "Oops: 0002 [#1] PREEMPT SMP NOPTI",
    "Oops: Oops: 0000 [#1] SMP NOPTI",
    "Oops: general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP",
    "general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] PREEMPT SMP",
    "general protection fault: 0000 [#1] SMP",
    "invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
    "divide error: 0000 [#1] PREEMPT SMP NOPTI",
    "stack segment: 0000 [#2] SMP",
    "double fault: 0000 [#1] SMP",
    "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
    "Unable to handle kernel paging request at virtual address dead000000000100",
    "Internal error: Oops: 0000000096000004 [#1] SMP",
    "Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP",
    "INFO: task insmod:1234 blocked for more than 120 seconds.",
    "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [cat:812]",
    "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0",
    "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 0",
    "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
    "rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 0-... } 21 jiffies s: 33 root: 0x1/.",
    "rcu: INFO: rcu_tasks detected stalls on tasks:",
]

HARMLESS = [
    "Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0)",
    "watchdog: softlockup_panic is off",
    "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
    "rcu: Hierarchical RCU implementation.",
    "rcu: \tRCU restricting CPUs from NR_CPUS=8192 to nr_cpu_ids=2.",
    "syscall_tracer: loading out-of-tree module taints kernel.",
    "syscall_tracer: Blocked unlink() from PID 1234",
    "syscall_tracer: DEBUG: 3 filters",
    "cat[812]: segfault at 0 ip 00007f0a1c2b3d4e sp 00007ffd0a1b2c3d error 4 in cat[55d0c0000000+5000]",
    "traps: a.out[812] general protection fault ip:55d0c0001139 sp:7ffd0a1b2c3d error:0 in a.out[55d0c0001000+1000]",
    "traps: a.out[813] trap invalid opcode ip:55d0c0001139 sp:7ffd0a1b2c3d error:0 in a.out[55d0c0001000+1000]",
    "traps: a.out[814] trap divide error ip:55d0c0001139 sp:7ffd0a1b2c3d error:0 in a.out[55d0c0001000+1000]",
    "Out of memory: Killed process 812 (stress) total-vm:1048576kB, anon-rss:524288kB, file-rss:0kB",
    "virtio_blk virtio1: [vda] 16777216 512-byte logical blocks (8.59 GB/8.00 GiB)",
    "EXT4-fs (vda): mounted filesystem with ordered data mode. Quota mode: none.",
    "EDAC MC: Ver: 3.0.0",
    "printk: console [ttyS0] enabled",
]


def _printed(directory: Path, text: bytes) -> Log:
    log = directory / "console.log"
    log.write_bytes(text)
    return Log(log, 0)


@pytest.mark.parametrize("line", TROUBLE)
def test_trouble_is_reported_with_its_line(tmp_path: Path, line: str) -> None:
    console = _printed(tmp_path, f"[    1.0] before\r\n[    2.5] {line}\r\n[    2.6] Call Trace:\r\n".encode())
    with pytest.raises(GuestCrashed) as caught:
        console.check("running `true`")
    assert caught.value.message == f"the guest's kernel broke while running `true`: [    2.5] {line}"
    assert caught.value.log == tmp_path / "console.log"
    assert (caught.value.output or "").splitlines()[-1] == "[    2.6] Call Trace:"


@pytest.mark.parametrize("line", HARMLESS)
def test_a_harmless_line_is_not_trouble(tmp_path: Path, line: str) -> None:
    console = _printed(tmp_path, f"[    2.5] {line}\r\n".encode())
    console.check("booting")
    assert console.unseen() == b""


@pytest.mark.parametrize("cut", [1, 14, 20, 40])
def test_a_line_that_arrives_in_two_parts_is_seen_whole(tmp_path: Path, cut: int) -> None:
    whole = b"[   12.5] Kernel panic - not syncing: Fatal exception\r\n"
    console = _printed(tmp_path, whole[:cut])
    console.check("booting")
    with console.log.open("ab") as log:
        log.write(whole[cut:])
    with pytest.raises(GuestCrashed, match=r"broke while booting: \[   12\.5\] Kernel panic - not syncing: Fatal"):
        console.check("booting")


def test_each_line_is_reported_once(tmp_path: Path) -> None:
    console = _printed(tmp_path, b"Kernel panic - not syncing: one\n")
    with pytest.raises(GuestCrashed, match="one"):
        console.check("booting")
    console.check("looking again")


def test_what_was_there_before_is_no_news(tmp_path: Path) -> None:
    log = _printed(tmp_path, b"Kernel panic - not syncing: old\n").log
    console = Log(log)
    console.check("running `true`")
    with log.open("ab") as file:
        file.write(b"quiet\nBUG: new\n")
    with pytest.raises(GuestCrashed, match="running `true`: BUG: new"):
        console.check("running `true`")


def test_an_offset_is_where_reading_starts(tmp_path: Path) -> None:
    log = _printed(tmp_path, b"first\nsecond\nthi").log
    assert Log(log, len("first\n")).unseen() == b"second\n"


def test_a_console_without_a_log_says_nothing(tmp_path: Path) -> None:
    console = Log(tmp_path / "console.log")
    assert console.unseen() == b""
    console.check("booting")
    assert console.tail() == ""
    console.log.write_bytes(b"first\n")
    assert console.unseen() == b"first\n"


def test_bytes_that_are_no_text_harm_nobody(tmp_path: Path) -> None:
    console = _printed(tmp_path, b"\xff\xfe\x00 BUG: \x80odd\n")
    with pytest.raises(GuestCrashed, match="BUG: \N{REPLACEMENT CHARACTER}odd"):
        console.check("booting")


def test_the_tail_is_free_of_terminal_sequences(tmp_path: Path) -> None:
    console = _printed(tmp_path, b"one\r\n\x1b[2J\x1b[1;32mtwo\x1b[0m\r\n\x1b(Bthree\x1bc\r\n")
    assert console.tail() == "one\ntwo\nthree"
    assert console.tail(2) == "two\nthree"
