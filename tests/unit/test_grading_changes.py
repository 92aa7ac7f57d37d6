"""Code for older kernels is called that: a line of what gcc or modpost says for each row of the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmodlab.grading.changes import CHANGES, outdated
from kmodlab.grading.compiler import explain

KERNEL = "7.3.4+deb13-cloud-amd64"

IMPLICIT = "a.c:9:24: error: implicit declaration of function '{}' [-Werror=implicit-function-declaration]"
UNDECLARED = "a.c:3:31: error: '{}' undeclared (first use in this function)"
MEMBER = "a.c:3:48: error: 'struct {}' has no member named '{}'"
HEADER = "a.c:2:10: fatal error: {}: No such file or directory"
MODPOST = 'ERROR: modpost: "{}" [a.ko] undefined!'
ARGUMENTS = 'a.c:3:73: error: macro "{}" passed {} arguments, but takes just {}'
TOO_FEW = "a.c:6:58: error: macro '{}' requires {} arguments, but only {} given"
TOO_MANY = "a.c:6:32: error: too many arguments to function '{}'"
POINTER = "a.c:6:33: error: initialization of '{}' from incompatible pointer type '{}' [-Wincompatible-pointer-types]"
NO_STRUCTURE = "a.c:5:41: error: request for member '{}' in something not a structure or union\n    5 | {}"

#: what was seen with gcc 12 on 6.1 or gcc 15 on 7.2; since when, if a source says; a word of what holds now
SAID = [
    (
        "proc_fs.h:114: note: expected 'const struct proc_ops *' but argument is of type 'struct file_operations *'",
        "5.6", "proc_ops",
    ),
    (IMPLICIT.format("create_proc_entry"), "3.10", "proc_create()"),
    (IMPLICIT.format("create_proc_read_entry"), "3.10", "proc_create()"),
    ("a.c:3:75: error: invalid use of undefined type 'struct proc_dir_entry'", "3.10", "opaque"),
    (MEMBER.format("proc_ops", "owner"), "5.6", "proc_open"),
    ("a.c:6:40: error: 'proc_root' undeclared (first use in this function); did you mean 'proc_ops'?", "", "NULL"),
    (IMPLICIT.format("PDE"), "3.10", "pde_data()"),
    (IMPLICIT.format("PDE_DATA"), "5.17", "pde_data()"),
    (MEMBER.format("task_struct", "state") + "; did you mean 'stats'?", "5.14", "__state"),
    (IMPLICIT.format("set_task_state") + "; did you mean 'set_task_cpu'?", "4.11", "set_current_state"),
    (IMPLICIT.format("find_task_by_pid") + "; did you mean 'find_task_by_vpid'?", "", "pid_task"),
    (IMPLICIT.format("daemonize"), "", "kthread_run"),
    (IMPLICIT.format("do_each_thread") + "; did you mean 'for_each_thread'?", "6.6", "for_each_process_thread"),
    (MEMBER.format("task_struct", "thread_group") + "; did you mean 'thread_node'?", "6.7", "for_each_thread"),
    (MEMBER.format("task_struct", "real_start_time") + "; did you mean 'start_time'?", "5.5", "start_boottime"),
    (NO_STRUCTURE.format("tv_sec", "long f(void){ return current->start_time.tv_sec;}"), "3.17", "nanoseconds"),
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
    (TOO_MANY.format("force_sig") + "; expected 1, have 2", "5.3", "send_sig"),
    (
        "signal.h:335:31: note: expected 'struct kernel_siginfo *' but argument is of type 'struct siginfo *'",
        "4.20", "kernel_siginfo",
    ),
    (IMPLICIT.format("interruptible_sleep_on"), "3.15", "wait_event_interruptible"),
    (IMPLICIT.format("interruptible_sleep_on_timeout"), "3.15", "wait_event_interruptible"),
    ("a.c:6:8: error: unknown type name 'wait_queue_t'; did you mean 'wait_event'?", "4.13", "wait_queue_entry_t"),
    (MODPOST.format("kallsyms_lookup_name"), "5.7", "not for modules"),
    (MODPOST.format("kallsyms_on_each_symbol"), "5.7", "not for modules"),
    (MODPOST.format("find_module"), "5.12", "not for modules"),
    (MODPOST.format("sys_call_table"), "2.6", "not for modules"),
    ("a.c:6:14: error: conflicting types for 'sys_call_table'; have 'void *[]'", "2.6", "not for modules"),
    (IMPLICIT.format("sys_close"), "4.17", "within the kernel"),
    (MODPOST.format("vfs_read"), "4.14", "kernel_read"),
    (
        "a.c:5:71: error: passing argument 4 of 'kernel_read' makes pointer from integer without a cast",
        "4.14", "pointer to the position",
    ),
    (IMPLICIT.format("set_fs"), "5.10", "kernel_read"),
    (UNDECLARED.format("KERNEL_DS"), "5.10", "kernel_read"),
    ("a.c:3:24: error: unknown type name 'mm_segment_t'", "5.10", "kernel_read"),
    (IMPLICIT.format("register_jprobe"), "4.15", "kprobe"),
    (MEMBER.format("kprobe", "fault_handler") + "; did you mean 'post_handler'?", "5.14", "no fault_handler"),
    (MEMBER.format("kretprobe_instance", "rp"), "5.11", "get_kretprobe"),
    (UNDECLARED.format("FTRACE_OPS_FL_RECURSION_SAFE"), "5.11", "FTRACE_OPS_FL_RECURSION"),
    (
        "a.c:121:20: error: assignment to 'ftrace_func_t' {aka 'void (*)(long unsigned int,  long unsigned int,  "
        "struct ftrace_ops *, struct ftrace_regs *)'} from incompatible pointer type 'void (*)(long unsigned int,  "
        "long unsigned int,  struct ftrace_ops *, struct pt_regs *)'",
        "5.11", "ftrace_regs",
    ),
    (
        "a.c:4:35: error: initialization of 'void (*)(long unsigned int,  struct ftrace_ops *, struct "
        "ftrace_regs *)' from incompatible pointer type 'void (*)(long unsigned int,  struct pt_regs *)'",
        "5.11", "ftrace_regs",
    ),
    (ARGUMENTS.format("access_ok", 3, 2), "5.0", "VERIFY_READ"),
    (ARGUMENTS.format("access_ok", 3, 2).replace('"', "'"), "5.0", "VERIFY_READ"),
    (UNDECLARED.format("VERIFY_WRITE"), "5.0", "access_ok"),
    (IMPLICIT.format("probe_kernel_read"), "5.8", "copy_from_kernel_nofault"),
    (IMPLICIT.format("probe_kernel_write"), "5.8", "copy_to_kernel_nofault"),
    (TOO_MANY.format("get_user_pages"), "4.9", "no task"),
    (TOO_MANY.format("get_user_pages") + "; expected 4, have 8", "4.9", "no task"),
    (TOO_MANY.format("get_user_pages") + "; expected 4, have 5", "6.5", "vmas"),
    (MEMBER.format("mm_struct", "mmap_sem") + "; did you mean 'mmap_base'?", "5.8", "mmap_read_lock"),
    (MEMBER.format("mm_struct", "mmap"), "6.1", "for_each_vma"),
    ("a.c:3:60: error: assignment of read-only member 'vm_flags'", "6.3", "vm_flags_set"),
    (UNDECLARED.format("VM_RESERVED"), "3.7", "VM_DONTEXPAND"),
    ("pgtable.h:117:40: note: expected 'p4d_t *' but argument is of type 'pgd_t *'", "4.12", "p4d_offset"),
    (
        "a.c:6:43: error: initialization of 'vm_fault_t (*)(struct vm_fault *)' {aka 'unsigned int (*)(struct vm_fault "
        "*)'} from incompatible pointer type 'int (*)(struct vm_area_struct *, struct vm_fault *)'",
        "4.11", "vmf->vma",
    ),
    (
        "a.c:6:43: error: initialization of 'vm_fault_t (*)(struct vm_fault *)' {aka 'unsigned int (*)(struct vm_fault "
        "*)'} from incompatible pointer type 'int (*)(struct vm_fault *)'",
        "4.17", "vm_fault_t",
    ),
    (MEMBER.format("vm_fault", "virtual_address") + "; did you mean 'real_address'?", "4.10", "vmf->address"),
    ("a.c:3:31: error: too many arguments to function '__vmalloc'", "5.8", "protection"),
    (IMPLICIT.format("ioremap_nocache"), "5.6", "ioremap()"),
    (UNDECLARED.format("PAGE_CACHE_SIZE"), "4.6", "PAGE_SIZE"),
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
    (IMPLICIT.format("current_kernel_time"), "4.20", "ktime_get_coarse_real_ts64"),
    (IMPLICIT.format("getnstimeofday"), "5.6", "ktime_get_real_ts64"),
    (IMPLICIT.format("ktime_get_ts"), "5.6", "ktime_get_ts64"),
    (IMPLICIT.format("get_seconds"), "5.11", "ktime_get_real_seconds"),
    (NO_STRUCTURE.format("tv64", "s64 f(void){ ktime_t t = ktime_get(); return t.tv64;}"), "4.10", "a number"),
    (UNDECLARED.format("CURRENT_TIME"), "4.12", "current_time"),
    (MEMBER.format("inode", "i_mtime"), "6.7", "inode_set_mtime"),
    (MEMBER.format("inode", "i_ctime"), "6.6", "inode_set_ctime_current"),
    ("a.c:3:1: error: unknown type name 'cycle_t'; did you mean 'cycles_t'?", "4.10", "u64"),
    ("a.c:3:31: error: too many arguments to function 'class_create'; expected 1, have 2", "6.4", "the name alone"),
    (MEMBER.format("class", "owner"), "6.4", "no owner"),
    (
        "a.c:6:37: error: assignment to 'char * (*)(const struct device *, umode_t *)' {aka 'char * (*)(const struct "
        "device *, short unsigned int *)'} from incompatible pointer type 'char * (*)(struct device *, umode_t *)'",
        "6.2", "const struct device",
    ),
    (
        "a.c:6:44: error: initialization of 'ssize_t (*)(const struct class *, const struct class_attribute *, char *)'"
        " {aka 'long int (*)(const struct class *, const struct class_attribute *, char *)'} from incompatible pointer "
        "type 'ssize_t (*)(struct class *, struct class_attribute *, char *)'",
        "", "const attribute",
    ),
    (MEMBER.format("kobj_type", "default_attrs"), "5.18", "default_groups"),
    (
        POINTER.format(
            "int (*)(struct i2c_client *)", "int (*)(struct i2c_client *, const struct i2c_device_id *)"
        ),
        "6.3", "the client alone",
    ),
    (POINTER.format("void (*)(struct i2c_client *)", "int (*)(struct i2c_client *)"), "6.1", "void"),
    (IMPLICIT.format("alloc_tty_driver"), "5.15", "tty_alloc_driver"),
    (
        "a.c:6:22: error: expected '=', ',', ';', 'asm' or '__attribute__' before 'foo'\n"
        "    6 | static int __devinit foo(struct pci_dev *d)",
        "3.8", "__devinit",
    ),
    (IMPLICIT.format("__devexit_p"), "3.8", "__devexit"),
    (
        "interrupt.h:165:45: note: expected 'irq_handler_t' {aka 'enum irqreturn (*)(int,  void *)'} but argument is "
        "of type 'irqreturn_t (*)(int,  void *, struct pt_regs *)' {aka 'enum irqreturn (*)(int,  void *, struct "
        "pt_regs *)'}",
        "2.6.19", "no struct pt_regs",
    ),
    (UNDECLARED.format("SA_SHIRQ"), "", "IRQF_SHARED"),
    (
        "a.c:4:42: error: initialization of 'void (*)(struct platform_device *)' from incompatible pointer type "
        "'int (*)(struct platform_device *)'",
        "6.11", "void",
    ),
    (MEMBER.format("file_operations", "ioctl"), "2.6.36", "unlocked_ioctl"),
    (MEMBER.format("file", "f_dentry"), "3.19", "f_path.dentry"),
    (MEMBER.format("file_operations", "readdir") + "; did you mean 'read'?", "3.11", "iterate_shared"),
    (MEMBER.format("file_operations", "iterate"), "6.5", "iterate_shared"),
    ("a.c:5:37: error: 'do_sync_read' undeclared here (not in a function)", "4.1", "read_iter"),
    (MEMBER.format("inode", "i_mutex"), "4.7", "inode_lock"),
    (IMPLICIT.format("path_lookup"), "2.6.39", "kern_path"),
    (IMPLICIT.format("d_alloc_root") + "; did you mean 'd_alloc_anon'?", "3.4", "d_make_root"),
    (MEMBER.format("file_system_type", "get_sb"), "2.6.39", "init_fs_context"),
    (IMPLICIT.format("mount_nodev"), "6.18", "get_tree_nodev"),
    (
        POINTER.format(
            "int (*)(struct user_namespace *, struct inode *, struct dentry *, umode_t,  bool)",
            "int (*)(struct inode *, struct dentry *, umode_t,  bool)",
        ),
        "5.12", "struct user_namespace",
    ),
    (
        POINTER.format(
            "int (*)(struct mnt_idmap *, struct inode *, struct dentry *, umode_t,  bool)",
            "int (*)(struct inode *, struct dentry *, umode_t,  bool)",
        ),
        "6.3", "struct mnt_idmap",
    ),
    (
        POINTER.format(
            "struct dentry * (*)(struct mnt_idmap *, struct inode *, struct dentry *, umode_t)",
            "int (*)(struct mnt_idmap *, struct inode *, struct dentry *, umode_t)",
        ),
        "6.15", "struct dentry",
    ),
    (IMPLICIT.format("nf_register_hook") + "; did you mean 'nf_register_net_hook'?", "4.13", "nf_register_net_hook"),
    (
        POINTER.format(
            "unsigned int (*)(void *, struct sk_buff *, const struct nf_hook_state *)",
            "unsigned int (*)(const struct nf_hook_ops *, struct sk_buff *, const struct nf_hook_state *)",
        ),
        "4.4", "void *priv",
    ),
    (MEMBER.format("nf_hook_ops", "owner"), "4.4", "no owner"),
    (UNDECLARED.format("NF_IP_PRE_ROUTING") + "; did you mean 'NF_INET_PRE_ROUTING'?", "", "NF_INET_"),
    (MEMBER.format("sk_buff", "nh"), "", "ip_hdr"),
    (TOO_MANY.format("netlink_kernel_create") + "; expected 3, have 6", "3.7", "netlink_kernel_cfg"),
    (MEMBER.format("netlink_skb_parms", "pid"), "3.7", "portid"),
    (TOO_FEW.format("alloc_netdev", 4, 3), "3.17", "NET_NAME_UNKNOWN"),
    (MEMBER.format("net_device", "hard_start_xmit"), "2.6.29", "netdev_ops"),
    (MEMBER.format("net_device", "trans_start"), "4.7", "netif_trans_update"),
    ("a.c:5:46: error: assignment of read-only location '*d->dev_addr'", "5.17", "eth_hw_addr_set"),
    (TOO_MANY.format("netif_napi_add"), "6.1", "no weight"),
    (IMPLICIT.format("kernel_setsockopt") + "; did you mean 'kernel_getsockname'?", "5.8", "sock_set_reuseaddr"),
    (
        "net.h:373:63: note: expected 'struct sockaddr_unsized *' but argument is of type 'struct sockaddr *'",
        "6.19", "sockaddr_unsized",
    ),
    (IMPLICIT.format("crypto_alloc_hash"), "4.6", "crypto_alloc_shash"),
    (IMPLICIT.format("crypto_alloc_blkcipher"), "5.5", "crypto_alloc_skcipher"),
    (ARGUMENTS.format("INIT_WORK", 3, 2), "2.6.20", "container_of"),
    ("a.c:3:42: error: 'no_llseek' undeclared here (not in a function)", "6.12", ".llseek"),
    (IMPLICIT.format("blk_init_queue"), "5.0", "blk-mq"),
    (IMPLICIT.format("__blk_end_request_all"), "5.0", "blk-mq"),
    (IMPLICIT.format("blk_queue_make_request"), "5.7", "when the disk is made"),
    (MEMBER.format("bio", "bi_sector"), "3.14", "bi_iter"),
    (TOO_MANY.format("bio_endio"), "4.3", "the bio alone"),
    (IMPLICIT.format("alloc_disk"), "5.15", "blk_alloc_disk"),
    (IMPLICIT.format("register_cpu_notifier"), "4.10", "cpuhp_setup_state"),
    (IMPLICIT.format("register_sysctl_table"), "6.5", "register_sysctl()"),
    (ARGUMENTS.format("DECLARE_TASKLET", 3, 2), "5.9", "tasklet"),
    (ARGUMENTS.format("hlist_for_each_entry", 4, 3), "3.9", "hlist_node"),
    (ARGUMENTS.format("hlist_for_each_entry_safe", 5, 4), "3.9", "one struct hlist_node"),
    (TOO_FEW.format("DEFINE_SEMAPHORE", 2, 1), "6.4", "the number"),
    (IMPLICIT.format("lock_kernel"), "2.6.39", "big kernel lock"),
    (IMPLICIT.format("init_MUTEX"), "2.6.37", "sema_init"),
    ("a.c:3:8: error: type defaults to 'int' in declaration of 'DECLARE_MUTEX'", "2.6.37", "DEFINE_SEMAPHORE"),
    ("a.c:3:23: error: 'SPIN_LOCK_UNLOCKED' undeclared here (not in a function)", "2.6.39", "DEFINE_SPINLOCK"),
    (UNDECLARED.format("IRQF_DISABLED"), "4.1", "leave"),
    (UNDECLARED.format("MOD_INC_USE_COUNT"), "", ".owner"),
    (IMPLICIT.format("strlcpy"), "6.8", "strscpy"),
    (IMPLICIT.format("strncpy"), "7.2", "strscpy"),
    (IMPLICIT.format("strict_strtol"), "3.18", "kstrtoul"),
    (IMPLICIT.format("get_random_int") + "; did you mean 'get_random_long'?", "6.1", "get_random_u32"),
    (IMPLICIT.format("prandom_bytes") + "; did you mean 'get_random_bytes'?", "6.1", "get_random_bytes"),
    (IMPLICIT.format("prandom_u32"), "6.1", "get_random_u32"),
    (HEADER.format("asm/system.h"), "3.4", "asm/system.h"),
    (HEADER.format("linux/smp_lock.h"), "2.6.39", "big kernel lock"),
    (HEADER.format("asm/semaphore.h"), "2.6.27", "linux/semaphore.h"),
    (HEADER.format("linux/config.h"), "2.6.19", "no need"),
    (HEADER.format("linux/autoconf.h"), "2.6.33", "generated/autoconf.h"),
    (HEADER.format("linux/genhd.h"), "5.18", "linux/blkdev.h"),
    (HEADER.format("stdarg.h"), "5.16", "linux/stdarg.h"),
    (HEADER.format("asm/unaligned.h"), "6.12", "linux/unaligned.h"),
]  # fmt: skip


@pytest.mark.parametrize(("log", "since", "now"), SAID)
def test_code_for_an_older_kernel_is_called_that(log: str, since: str, now: str) -> None:
    change = outdated(f"  CC [M]  a.o\n{log}\nmake: *** [Makefile:2: all] Error 2\n", KERNEL)
    assert change
    assert change.since == since
    assert now in change.now
    if "error: " in log:
        sentence = explain(log, KERNEL, Path("none"))
        before = f"a kernel before {since}: since then" if since else "an older kernel: now"
        assert sentence.endswith(f" (written for {before} {change.now})")


def test_every_row_has_a_line() -> None:
    used = {id(outdated(log, KERNEL)) for log, _, _ in SAID}
    assert [change.words.pattern for change in CHANGES if id(change) not in used] == []


def test_the_sentences_are_fit_to_show() -> None:
    for change in CHANGES:
        assert re.fullmatch(r"([0-9]+\.[0-9]+(\.[0-9]+)?)?", change.since)
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
    assert outdated(log, KERNEL) is None


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("del_timer", "6.14.0-1-amd64", "6.15.0-1-amd64"),
        ("strncpy", "7.1.9+deb14-cloud-amd64", "7.2.12+deb14-cloud-amd64"),
        ("prandom_u32", "5.10.0-32-cloud-amd64", "6.1.0-56-cloud-amd64"),
    ],
)
def test_what_a_newer_kernel_has_changed_is_no_error_of_an_older_one(name: str, before: str, after: str) -> None:
    """A name that is not declared there is a header that is not included."""
    assert outdated(IMPLICIT.format(name), before) is None
    assert outdated(IMPLICIT.format(name), after)


def test_code_for_a_newer_kernel_is_not_called_old() -> None:
    """A mkdir() that returns what 6.15 wants, built for 6.1."""
    older, newer = "struct user_namespace *, struct inode *", "struct mnt_idmap *, struct inode *"
    assert outdated(POINTER.format(f"int (*)({older})", f"struct dentry * (*)({newer})"), "6.1.0-56-amd64") is None


def test_of_several_changes_the_first_in_the_log_is_named() -> None:
    late = IMPLICIT.format("del_timer")
    early = MEMBER.format("task_struct", "state")
    for log, since in ((f"{late}\n{early}", "6.15"), (f"{early}\n{late}", "5.14")):
        change = outdated(log, KERNEL)
        assert change
        assert change.since == since
