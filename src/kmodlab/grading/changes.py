"""The one table of changes of the kernel's interfaces that code for older kernels runs into.

Source of each: the kernel's own history. What the compiler or modpost says was seen with gcc 12 on 6.1 and a newer
one on 7.2; tests/unit/test_grading_changes.py has a line of it for each row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """A change of the kernel's interfaces that breaks older modules.

    Attributes:
        words: what the compiler says of code from before it, a regular expression.
        since: the kernel version that made it.
        now: what holds since then.
    """

    words: re.Pattern[str]
    since: str
    now: str


def _change(words: str, since: str, now: str) -> Change:
    return Change(re.compile(words), since, now)


def _gone(names: str, since: str, now: str) -> Change:
    """A name that is no longer declared: a function, a type, a constant."""
    said = r"implicit declaration of function|unknown type name|type defaults to 'int' in declaration of"
    return _change(rf"(?:{said}) '(?:{names})'|'(?:{names})' undeclared", since, now)


def _member(structure: str, names: str, since: str, now: str) -> Change:
    return _change(rf"'struct {structure}' has no member named '(?:{names})'", since, now)


def _header(names: str, since: str, now: str) -> Change:
    return _change(rf"fatal error: (?:{names}): No such file", since, now)


def _unexported(names: str, since: str, now: str) -> Change:
    return _change(rf'"(?:{names})" \[[^]]*\] undefined', since, now)


def _arguments(macro: str, count: int, since: str, now: str) -> Change:
    return _change(rf"macro [\"']{macro}[\"'] passed {count} arguments", since, now)


_SIGNAL = "for_each_process|for_each_thread|for_each_process_thread|send_sig|send_sig_info|force_sig|signal_pending"
_SYSCALLS = "open|close|read|write|unlink|rmdir|mkdir|chmod|kill|dup|dup2|lseek|getpid"

CHANGES = (
    # /proc
    _change(r"expected 'const struct proc_ops \*'", "5.6", "/proc files take a struct proc_ops"),
    _gone("create_proc_(?:read_|info_)?entry", "3.10", "/proc files are made with proc_create()"),
    _change("undefined type 'struct proc_dir_entry'", "3.10", "struct proc_dir_entry is opaque: use proc_create()"),
    _gone("PDE", "3.10", "PDE()->data is pde_data()"),
    _gone("PDE_DATA", "5.17", "PDE_DATA() is pde_data()"),
    # tasks
    _member("task_struct", "state", "5.14", "a task's state is READ_ONCE(task->__state)"),
    _member("task_struct", "u?id|e[ug]id|gid", "2.6.29", "a task's ids are in its credentials: task_uid(task)"),
    _change(
        "using type 'kuid_t'|using type 'kgid_t'", "3.5", "ids are kuid_t and kgid_t: from_kuid(&init_user_ns, uid)"
    ),
    _gone(f"{_SIGNAL}|thread_group_leader|get_nr_threads", "4.11", "this is in <linux/sched/signal.h>"),
    _gone("get_task_struct|put_task_struct", "4.11", "this is in <linux/sched/task.h>"),
    _gone("get_task_mm|mmput|mmgrab|mmdrop", "4.11", "this is in <linux/sched/mm.h>"),
    _gone("cputime_to_(?:jiffies|secs|msecs|usecs)", "4.11", "a task's times are in nanoseconds"),
    _unexported("tasklist_lock", "2.6.18", "tasklist_lock is the kernel's own: use rcu_read_lock()"),
    _unexported("sched_setscheduler", "5.9", "modules use sched_set_fifo() instead of sched_setscheduler()"),
    _gone("complete_and_exit", "5.17", "complete_and_exit() is kthread_complete_and_exit()"),
    _unexported("do_exit", "5.17", "modules may not call do_exit(): a thread returns, or calls kthread_exit()"),
    _change("'struct kernel_siginfo \\*' but argument is of type 'struct siginfo", "4.20", "use struct kernel_siginfo"),
    _gone("interruptible_sleep_on|sleep_on", "3.15", "use wait_event_interruptible()"),
    # symbols and system calls
    _unexported("kallsyms_lookup_name", "5.7", "kallsyms_lookup_name() is not for modules any more"),
    _unexported("sys_call_table", "2.6", "sys_call_table is not for modules"),
    _gone(f"sys_(?:{_SYSCALLS})", "4.17", "sys_*() cannot be called from within the kernel"),
    _unexported("vfs_(?:read|write)", "4.14", "use kernel_read() and kernel_write()"),
    _gone("[gs]et_fs|get_ds|mm_segment_t|KERNEL_DS", "5.10", "there is no set_fs(): use kernel_read(), kernel_write()"),
    _gone("register_jprobe", "4.15", "there are no jprobes: use a kprobe, or ftrace"),
    _change(r"struct ftrace_regs \*\)' from incompatible", "5.11", "an ftrace callback is given a struct ftrace_regs"),
    # memory
    _arguments("access_ok", 3, "5.0", "access_ok() takes no VERIFY_READ or VERIFY_WRITE"),
    _gone("VERIFY_(?:READ|WRITE)", "5.0", "access_ok() takes no VERIFY_READ or VERIFY_WRITE"),
    _member("mm_struct", "mmap_sem", "5.8", "mm->mmap_sem is mmap_read_lock(mm)"),
    _change(r"'struct (?:mm|vm_area)_struct' has no member named '(?:mmap|vm_next)'", "6.1", "use for_each_vma()"),
    _change("read-only member 'vm_flags'", "6.3", "flags are set with vm_flags_set()"),
    _change(r"too many arguments to function '__vmalloc", "5.8", "__vmalloc() takes no protection"),
    _gone("ioremap_nocache", "5.6", "ioremap_nocache() is ioremap()"),
    # time
    _gone("init_timer|setup_timer", "4.15", "timers are made with timer_setup()"),
    _member("timer_list", "data", "4.15", "a timer's function is given the timer: timer_setup(), and container_of()"),
    _change(
        r"'void \(\*\)\(struct timer_list \*\)' from incompatible", "4.15", "a timer's function is given the timer"
    ),
    _gone("del_timer(?:_sync)?", "6.15", "del_timer() is timer_delete()"),
    _gone("from_timer", "6.16", "from_timer() is timer_container_of()"),
    _gone("hrtimer_init", "6.15", "hrtimer_init() is hrtimer_setup()"),
    _gone("do_gettimeofday|current_kernel_time", "5.0", "use ktime_get_real_ts64()"),
    _change(r"storage size of .* isn't known.*\n.*struct time(?:val|spec) ", "5.6", "use struct timespec64"),
    _gone("getnstimeofday|get_seconds", "5.6", "use ktime_get_real_ts64() or ktime_get_real_seconds()"),
    _gone("CURRENT_TIME", "4.12", "CURRENT_TIME is current_time(inode)"),
    _member("inode", "i_[am]time", "6.7", "an inode's times are set with inode_set_mtime() and the like"),
    _gone("cycle_t", "4.10", "cycle_t is u64"),
    # devices, files, locks
    _change("too many arguments to function 'class_create'", "6.4", "class_create() takes the name alone"),
    _change(
        r"'void \(\*\)\(struct platform_device \*\)' from incompatible", "6.11", "a platform driver's remove() is void"
    ),
    _member("file_operations", "ioctl", "2.6.36", "ioctl is unlocked_ioctl, without the inode"),
    _member("file", "f_dentry", "3.19", "file->f_dentry is file->f_path.dentry"),
    _gone("no_llseek", "6.12", "leave .llseek out"),
    _gone("blk_init_queue", "5.0", "block drivers use blk-mq"),
    _gone("alloc_disk", "5.15", "alloc_disk() is blk_alloc_disk()"),
    _gone("register_cpu_notifier", "4.10", "use cpuhp_setup_state()"),
    _gone("register_sysctl_table", "6.6", "register_sysctl_table() is register_sysctl()"),
    _arguments("DECLARE_TASKLET", 3, "5.9", "a tasklet's function is given the tasklet, and no number"),
    _arguments("hlist_for_each_entry", 4, "3.9", "hlist_for_each_entry() needs no struct hlist_node"),
    _gone("DECLARE_MUTEX|init_MUTEX", "2.6.37", "use struct mutex, or DEFINE_SEMAPHORE() and sema_init()"),
    _gone("SPIN_LOCK_UNLOCKED", "2.6.39", "spin locks are made with DEFINE_SPINLOCK()"),
    _gone("IRQF_DISABLED", "4.1", "leave IRQF_DISABLED out"),
    _gone("MOD_(?:INC|DEC)_USE_COUNT", "2.6", "the kernel counts users itself: set .owner"),
    # text and numbers
    _gone("strlcpy", "6.8", "strlcpy() is strscpy()"),
    _gone("prandom_u32", "6.1", "prandom_u32() is get_random_u32()"),
    # headers
    _header(r"asm/system\.h", "3.4", "there is no <asm/system.h>"),
    _header(r"linux/smp_lock\.h", "2.6.39", "there is no big kernel lock, and no <linux/smp_lock.h>"),
    _header(r"stdarg\.h", "5.16", "it is <linux/stdarg.h>"),
    _header(r"asm/unaligned\.h", "6.12", "it is <linux/unaligned.h>"),
)

#: a compiler's guess at what was meant names other things
_GUESS = re.compile(r"; did you mean '[^']*'\?")


def outdated(log: str) -> Change | None:
    """Return the change of the kernel that the code has not followed: the first that an error in the log shows."""
    said = _GUESS.sub("", log)
    found = [(match.start(), change) for change in CHANGES if (match := change.words.search(said))]
    return min(found, key=lambda one: one[0])[1] if found else None
