"""Code for older kernels is called that: a line of what gcc or modpost says for each row of the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmodlab.grading.changes import CHANGES, outdated
from kmodlab.grading.compiler import explain

IMPLICIT = "a.c:9:24: error: implicit declaration of function '{}' [-Werror=implicit-function-declaration]"
UNDECLARED = "a.c:3:31: error: '{}' undeclared (first use in this function)"
MEMBER = "a.c:3:48: error: 'struct {}' has no member named '{}'"
HEADER = "a.c:2:10: fatal error: {}: No such file or directory"
MODPOST = 'ERROR: modpost: "{}" [a.ko] undefined!'
ARGUMENTS = 'a.c:3:73: error: macro "{}" passed {} arguments, but takes just {}'

#: what was seen with gcc 12 on 6.1 or gcc 15 on 7.2; since when; a word of what holds now
SAID = [
    (
        "proc_fs.h:114: note: expected 'const struct proc_ops *' but argument is of type 'struct file_operations *'",
        "5.6", "proc_ops",
    ),
    (IMPLICIT.format("create_proc_entry"), "3.10", "proc_create()"),
    (IMPLICIT.format("create_proc_read_entry"), "3.10", "proc_create()"),
    ("a.c:3:75: error: invalid use of undefined type 'struct proc_dir_entry'", "3.10", "opaque"),
    (IMPLICIT.format("PDE"), "3.10", "pde_data()"),
    (IMPLICIT.format("PDE_DATA"), "5.17", "pde_data()"),
    (MEMBER.format("task_struct", "state") + "; did you mean 'stats'?", "5.14", "__state"),
    (MEMBER.format("task_struct", "uid"), "2.6.29", "task_uid"),
    ("current.h:18:17: error: incompatible types when initializing type 'int' using type 'kuid_t'", "3.5", "from_kuid"),
    (IMPLICIT.format("for_each_process"), "4.11", "linux/sched/signal.h"),
    (IMPLICIT.format("send_sig"), "4.11", "linux/sched/signal.h"),
    (IMPLICIT.format("put_task_struct"), "4.11", "linux/sched/task.h"),
    (IMPLICIT.format("get_task_mm"), "4.11", "linux/sched/mm.h"),
    (IMPLICIT.format("cputime_to_jiffies"), "4.11", "nanoseconds"),
    (MODPOST.format("tasklist_lock"), "2.6.18", "rcu_read_lock"),
    (MODPOST.format("sched_setscheduler"), "5.9", "sched_set_fifo"),
    (IMPLICIT.format("complete_and_exit"), "5.17", "kthread_complete_and_exit"),
    (MODPOST.format("do_exit"), "5.17", "kthread_exit"),
    (
        "signal.h:335:31: note: expected 'struct kernel_siginfo *' but argument is of type 'struct siginfo *'",
        "4.20", "kernel_siginfo",
    ),
    (IMPLICIT.format("interruptible_sleep_on"), "3.15", "wait_event_interruptible"),
    (MODPOST.format("kallsyms_lookup_name"), "5.7", "not for modules"),
    (MODPOST.format("sys_call_table"), "2.6", "not for modules"),
    (IMPLICIT.format("sys_close"), "4.17", "within the kernel"),
    (MODPOST.format("vfs_read"), "4.14", "kernel_read"),
    (IMPLICIT.format("set_fs"), "5.10", "kernel_read"),
    (UNDECLARED.format("KERNEL_DS"), "5.10", "kernel_read"),
    ("a.c:3:24: error: unknown type name 'mm_segment_t'", "5.10", "kernel_read"),
    (IMPLICIT.format("register_jprobe"), "4.15", "kprobe"),
    (
        "a.c:4:35: error: initialization of 'void (*)(long unsigned int,  struct ftrace_ops *, struct "
        "ftrace_regs *)' from incompatible pointer type 'void (*)(long unsigned int,  struct pt_regs *)'",
        "5.11", "ftrace_regs",
    ),
    (ARGUMENTS.format("access_ok", 3, 2), "5.0", "VERIFY_READ"),
    (ARGUMENTS.format("access_ok", 3, 2).replace('"', "'"), "5.0", "VERIFY_READ"),
    (UNDECLARED.format("VERIFY_WRITE"), "5.0", "access_ok"),
    (MEMBER.format("mm_struct", "mmap_sem") + "; did you mean 'mmap_base'?", "5.8", "mmap_read_lock"),
    (MEMBER.format("mm_struct", "mmap"), "6.1", "for_each_vma"),
    ("a.c:3:60: error: assignment of read-only member 'vm_flags'", "6.3", "vm_flags_set"),
    ("a.c:3:31: error: too many arguments to function '__vmalloc'", "5.8", "protection"),
    (IMPLICIT.format("ioremap_nocache"), "5.6", "ioremap()"),
    (IMPLICIT.format("init_timer"), "4.15", "timer_setup"),
    (IMPLICIT.format("setup_timer") + "; did you mean 'del_timer'?", "4.15", "timer_setup"),
    (MEMBER.format("timer_list", "data"), "4.15", "timer_setup"),
    (
        "a.c:4:35: error: assignment to 'void (*)(struct timer_list *)' from incompatible pointer type 'void (*)(long "
        "unsigned int)'",
        "4.15", "given the timer",
    ),
    (IMPLICIT.format("del_timer_sync"), "6.15", "timer_delete"),
    (IMPLICIT.format("from_timer"), "6.16", "timer_container_of"),
    (IMPLICIT.format("hrtimer_init"), "6.15", "hrtimer_setup"),
    (IMPLICIT.format("do_gettimeofday"), "5.0", "ktime_get_real_ts64"),
    ("a.c:3:39: error: storage size of 'tv' isn't known\n    3 |  struct timeval tv;", "5.6", "timespec64"),
    (IMPLICIT.format("getnstimeofday"), "5.6", "ktime_get_real_ts64"),
    (UNDECLARED.format("CURRENT_TIME"), "4.12", "current_time"),
    (MEMBER.format("inode", "i_mtime"), "6.7", "inode_set_mtime"),
    ("a.c:3:1: error: unknown type name 'cycle_t'; did you mean 'cycles_t'?", "4.10", "u64"),
    ("a.c:3:31: error: too many arguments to function 'class_create'; expected 1, have 2", "6.4", "the name alone"),
    (
        "a.c:4:42: error: initialization of 'void (*)(struct platform_device *)' from incompatible pointer type "
        "'int (*)(struct platform_device *)'",
        "6.11", "void",
    ),
    (MEMBER.format("file_operations", "ioctl"), "2.6.36", "unlocked_ioctl"),
    (MEMBER.format("file", "f_dentry"), "3.19", "f_path.dentry"),
    ("a.c:3:42: error: 'no_llseek' undeclared here (not in a function)", "6.12", ".llseek"),
    (IMPLICIT.format("blk_init_queue"), "5.0", "blk-mq"),
    (IMPLICIT.format("alloc_disk"), "5.15", "blk_alloc_disk"),
    (IMPLICIT.format("register_cpu_notifier"), "4.10", "cpuhp_setup_state"),
    (IMPLICIT.format("register_sysctl_table"), "6.6", "register_sysctl()"),
    (ARGUMENTS.format("DECLARE_TASKLET", 3, 2), "5.9", "tasklet"),
    (ARGUMENTS.format("hlist_for_each_entry", 4, 3), "3.9", "hlist_node"),
    (IMPLICIT.format("init_MUTEX"), "2.6.37", "sema_init"),
    ("a.c:3:8: error: type defaults to 'int' in declaration of 'DECLARE_MUTEX'", "2.6.37", "DEFINE_SEMAPHORE"),
    ("a.c:3:23: error: 'SPIN_LOCK_UNLOCKED' undeclared here (not in a function)", "2.6.39", "DEFINE_SPINLOCK"),
    (UNDECLARED.format("IRQF_DISABLED"), "4.1", "leave"),
    (UNDECLARED.format("MOD_INC_USE_COUNT"), "2.6", ".owner"),
    (IMPLICIT.format("strlcpy"), "6.8", "strscpy"),
    (IMPLICIT.format("prandom_u32"), "6.1", "get_random_u32"),
    (HEADER.format("asm/system.h"), "3.4", "asm/system.h"),
    (HEADER.format("linux/smp_lock.h"), "2.6.39", "big kernel lock"),
    (HEADER.format("stdarg.h"), "5.16", "linux/stdarg.h"),
    (HEADER.format("asm/unaligned.h"), "6.12", "linux/unaligned.h"),
]  # fmt: skip


@pytest.mark.parametrize(("log", "since", "now"), SAID)
def test_code_for_an_older_kernel_is_called_that(log: str, since: str, now: str) -> None:
    change = outdated(f"  CC [M]  a.o\n{log}\nmake: *** [Makefile:2: all] Error 2\n")
    assert change
    assert change.since == since
    assert now in change.now
    if "error: " in log:
        sentence = explain(log, "6.1", Path("none"))
        assert f"(written for a kernel before {since}: since then " in sentence


def test_every_row_has_a_line() -> None:
    used = {id(outdated(log)) for log, _, _ in SAID}
    assert [change.words.pattern for change in CHANGES if id(change) not in used] == []


def test_the_sentences_are_fit_to_show() -> None:
    for change in CHANGES:
        assert re.fullmatch(r"[0-9]+\.[0-9]+(\.[0-9]+)?", change.since)
        assert not change.now.endswith(".")


@pytest.mark.parametrize(
    "log",
    [
        "a.c:8:9: error: expected ';' before 'return'",
        "a.c:3:31: error: implicit declaration of function 'foo'; did you mean 'init_timer'? [-Wimplicit]",
        "a.c:3:48: error: 'struct mine' has no member named 'state'",
        'ERROR: modpost: "my_function" [a.ko] undefined!',
        "a.c:2:10: fatal error: mine.h: No such file or directory",
    ],
)
def test_a_plain_mistake_is_no_old_code(log: str) -> None:
    assert outdated(log) is None


def test_of_several_changes_the_first_in_the_log_is_named() -> None:
    late = IMPLICIT.format("del_timer")
    early = MEMBER.format("task_struct", "state")
    for log, since in ((f"{late}\n{early}", "6.15"), (f"{early}\n{late}", "5.14")):
        change = outdated(log)
        assert change
        assert change.since == since
