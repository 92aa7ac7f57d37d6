"""The one table of what a kernel in trouble prints, on the kernels' own words from 5.10 to 7.3."""

from __future__ import annotations

import pytest

from kmodlab.contract.kernel_log import trouble
from kmodlab.kernel_report import Kind, kind_of, sign

#: a line that begins or names a report, and its kind
REPORTS = [
    ("Kernel panic - not syncing: sysrq triggered crash", Kind.PANIC),
    ("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", Kind.PANIC),
    ("BUG: kernel NULL pointer dereference, address: 0000000000000000", Kind.OOPS),
    ("BUG: unable to handle page fault for address: ffffffffc0a01234", Kind.OOPS),
    ("kernel BUG at lib/list_debug.c:56!", Kind.OOPS),
    ("Oops: 0002 [#1] PREEMPT SMP NOPTI", Kind.OOPS),
    ("Oops: Oops: 0000 [#1] SMP NOPTI", Kind.OOPS),
    ("Oops: general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP", Kind.OOPS),
    (
        "general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] PREEMPT SMP",
        Kind.OOPS,
    ),
    ("general protection fault: 0000 [#1] SMP", Kind.OOPS),
    ("invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", Kind.OOPS),
    ("divide error: 0000 [#1] PREEMPT SMP NOPTI", Kind.OOPS),
    ("stack segment: 0000 [#2] SMP", Kind.OOPS),
    ("double fault: 0000 [#1] SMP", Kind.OOPS),
    ("BUG: stack guard page was hit at 00000000a1b2c3d4 (stack is 00000000a1b2c000..00000000a1b2ffff)", Kind.OOPS),
    ("Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008", Kind.OOPS),
    ("Unable to handle kernel paging request at virtual address dead000000000100", Kind.OOPS),
    ("Internal error: Oops: 0000000096000004 [#1] SMP", Kind.OOPS),
    ("Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP", Kind.OOPS),
    ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [cat:812]", Kind.LOCKUP),
    ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 0", Kind.LOCKUP),
    ("watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 0", Kind.LOCKUP),
    ("rcu: INFO: rcu_preempt self-detected stall on CPU", Kind.LOCKUP),
    ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", Kind.LOCKUP),
    (
        "rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 0-... } 21 jiffies s: 33 root: 0x1/.",
        Kind.LOCKUP,
    ),
    ("rcu: INFO: rcu_tasks detected stalls on tasks:", Kind.LOCKUP),
    ("INFO: task insmod:1234 blocked for more than 120 seconds.", Kind.HUNG),
    ("INFO: task cat:812 blocked in I/O wait for more than 120 seconds.", Kind.HUNG),
    ("BUG: scheduling while atomic: cat/812/0x00000002", Kind.ATOMIC),
    ("BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580", Kind.ATOMIC),
    ("[ BUG: Invalid wait context ]", Kind.ATOMIC),
    ("BUG: workqueue leaked lock or atomic: kworker/0:1/0x00000001/12", Kind.ATOMIC),
    ("UBSAN: array-index-out-of-bounds in kernel/syscall_tracer/ring.c:12:3", Kind.CHECK),
    ("BUG: KCSAN: data-race in copy_run / sct_entry", Kind.CHECK),
    ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", Kind.CHECK),
    ("WARNING: possible circular locking dependency detected", Kind.CHECK),
    ("WARNING: possible recursive locking detected", Kind.CHECK),
    ("WARNING: inconsistent lock state", Kind.CHECK),
    ("WARNING: suspicious RCU usage", Kind.CHECK),
    ("WARNING: bad unlock balance detected!", Kind.CHECK),
    ("WARNING: held lock freed!", Kind.CHECK),
    ("WARNING: lock held when returning to user space!", Kind.CHECK),
    ("WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected", Kind.CHECK),
    ("INFO: trying to register non-static key.", Kind.CHECK),
    ("BUG: KASAN: slab-use-after-free in tl_show+0x1c/0x90 [task_lister]", Kind.BUG),
    ("BUG: KASAN: use-after-free in tl_show+0x1c/0x90 [task_lister]", Kind.BUG),
    ("BUG: KFENCE: out-of-bounds read in tl_show+0x1c/0x90 [task_lister]", Kind.BUG),
    ("BUG: Bad page state in process cat  pfn:1a2b3", Kind.BUG),
    ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!", Kind.BUG),
    ("BUG kmalloc-64 (Tainted: G    B      O      ): Right Redzone overwritten", Kind.BUG),
    ("WARNING: CPU: 0 PID: 812 at kernel/trace/ftrace.c:2071 ftrace_bug+0x1e/0x90", Kind.WARNING),
    ("WARNING: kernel/kprobes.c:1091 at __disarm_kprobe_ftrace.isra.0+0xd4/0xe0, CPU#1: rmmod/812", Kind.WARNING),
    ("refcount_t: underflow; use-after-free.", Kind.WARNING),
    (
        "list_add corruption. next->prev should be prev (ffff888), but was dead000000000122. (next=ffff889).",
        Kind.WARNING,
    ),
    ("proc_dir_entry '/proc/task_lister' already registered", Kind.WARNING),
    ("sysfs: cannot create duplicate filename '/module/hello'", Kind.WARNING),
    (
        "unchecked MSR access error: RDMSR from 0x1234 at rIP: 0xffffffff81000000 (native_read_msr+0x4/0x20)",
        Kind.WARNING,
    ),
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


@pytest.mark.parametrize(("line", "kind"), REPORTS)
def test_a_report_is_known_by_its_words(line: str, kind: Kind) -> None:
    assert kind_of(line) is kind
    assert sign().search(line.encode())
    assert trouble([f"before {line}"]) == ([] if kind is Kind.LOCKUP else [f"before {line}"])


@pytest.mark.parametrize("line", HARMLESS)
def test_what_is_harmless_is_no_report(line: str) -> None:
    assert kind_of(line) is None
    assert not sign().search(line.encode())
    assert trouble([line]) == []


def test_a_sign_is_of_the_kinds_that_are_asked_for() -> None:
    words = sign([Kind.PANIC, Kind.WARNING])
    assert words.search(b"Kernel panic - not syncing: x")
    assert not words.search(b"BUG: scheduling while atomic: cat/812/0x00000002")


def test_a_stall_is_ours_where_a_module_is_in_the_stack() -> None:
    stall, trace = "rcu: INFO: rcu_preempt self-detected stall on CPU", " tl_next_process+0x12/0x90 [task_lister]"
    assert trouble([stall, "Call Trace:", "x"]) == []
    assert trouble([stall, "Call Trace:", trace]) == ["Call Trace:", stall]
