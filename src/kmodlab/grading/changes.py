"""The one table of changes of the kernel's interfaces that code for older kernels runs into.

Versions were looked up in what follows the kernel from outside, for the kernel's own history was not at hand: comments
and version tests in the compatibility code of NVIDIA's driver (kernel-open/conftest.sh), OpenZFS (config/*.m4), Lustre
and OpenAFS (autoconf and histories), DRBD (drbd-kernel-compat/tests), LTTng, VirtualBox, DAHDI, falcosecurity/libs and
Realtek's drivers; reports of builds that broke with a version; pull requests to the kernel. Most rows have two such
sources; one that none speaks for has no version. A line of old code for each was built for Debian's 5.10, 6.1, 6.12 and
7.2: it broke where the table says, and nowhere before.

What the compiler or modpost says was seen with gcc 12 on 6.1 or gcc 15 on 7.2; tests/unit/test_grading_changes.py has
a line of it for each row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """A change of the kernel's interfaces that breaks older modules.

    Attributes:
        words: what the compiler says of code from before it, a regular expression.
        since: the kernel version that made it; empty where no source says.
        now: what holds since then.
    """

    words: re.Pattern[str]
    since: str
    now: str

    def made_by(self, kernel: str) -> bool:
        """Say whether a kernel has it: a name that an older one lacks is a plain mistake there."""
        return _numbers(self.since) <= _numbers(kernel)


def _numbers(version: str) -> list[int]:
    """Return a version's numbers, those of `6.1.0-56-cloud-amd64` being 6, 1 and 0."""
    return [int(number) for number in re.findall(r"[0-9]+", version.partition("-")[0])]


_FROM = "from incompatible pointer type"


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
    return _change(rf"macro [\"'](?:{macro})[\"'] (?:passed {count} arguments|.*, but only {count} given)", since, now)


def _too_many(function: str, since: str, now: str) -> Change:
    return _change(rf"too many arguments to function '{function}'", since, now)


def _pointer(wanted: str, since: str, now: str) -> Change:
    """A function of another type than the structure's member, whose type is, or ends in, `wanted`."""
    return _change(rf"{wanted}'\}}? {_FROM}", since, now)


_SIGNAL = "for_each_process|for_each_thread|for_each_process_thread|send_sig|send_sig_info|force_sig|signal_pending"
_SYSCALLS = "open|close|read|write|unlink|rmdir|mkdir|chmod|kill|dup|dup2|lseek|getpid"
_PROC_OPS = "owner|open|read|write|llseek|release|unlocked_ioctl|mmap|poll"
_BLOCK_REQUESTS = r"blk_init_queue|blk_fetch_request|blk_(?:peek|start)_request|__blk_end_request\w*"

CHANGES = (
    # /proc
    _change(r"expected 'const struct proc_ops \*'", "5.6", "/proc files take a struct proc_ops"),
    _member("proc_ops", _PROC_OPS, "5.6", "a struct proc_ops has proc_open, proc_read, proc_lseek, and no owner"),
    _gone("create_proc_(?:read_|info_)?entry", "3.10", "/proc files are made with proc_create()"),
    _change("undefined type 'struct proc_dir_entry'", "3.10", "struct proc_dir_entry is opaque: use proc_create()"),
    _gone("proc_root", "", "what is in /proc itself has the parent NULL"),
    _gone("PDE", "3.10", "PDE()->data is pde_data(), PDE_DATA() before 5.17"),
    _gone("PDE_DATA", "5.17", "PDE_DATA() is pde_data()"),
    # tasks
    _member("task_struct", "state", "5.14", "a task's state is READ_ONCE(task->__state)"),
    _gone("(?:__)?set_task_state", "4.11", "a task sets its own state: set_current_state()"),
    _member("task_struct", "u?id|e[ug]id|gid", "2.6.29", "a task's ids are in its credentials: task_uid(task)"),
    _change(
        "using type 'kuid_t'|using type 'kgid_t'", "3.5", "ids are kuid_t and kgid_t: from_kuid(&init_user_ns, uid)"
    ),
    _gone("find_task_by_pid", "", "a task is found with pid_task(find_vpid(pid), PIDTYPE_PID)"),
    _gone("daemonize", "", "kernel threads are made with kthread_run()"),
    _gone("do_each_thread", "6.6", "use for_each_process_thread()"),
    _member("task_struct", "thread_group", "6.7", "a process's threads are walked with for_each_thread()"),
    _member("task_struct", "real_start_time", "5.5", "task->real_start_time is task->start_boottime"),
    _change(
        r"request for member 'tv_n?sec' in something not a structure or union.*\n.*start_time",
        "3.17",
        "a task's start_time is in nanoseconds, one number",
    ),
    _gone(f"{_SIGNAL}|thread_group_leader|get_nr_threads", "4.11", "this is in <linux/sched/signal.h>"),
    _gone("get_task_struct|put_task_struct", "4.11", "this is in <linux/sched/task.h>"),
    _gone("get_task_mm|mmput|mmgrab|mmdrop", "4.11", "this is in <linux/sched/mm.h>"),
    _gone("cputime_to_(?:jiffies|secs|msecs|usecs)", "4.11", "a task's times are in nanoseconds"),
    _unexported("tasklist_lock", "2.6.18", "tasklist_lock is the kernel's own: use rcu_read_lock()"),
    _unexported("sched_setscheduler", "5.9", "modules use sched_set_fifo() instead of sched_setscheduler()"),
    _gone("complete_and_exit", "5.17", "complete_and_exit() is kthread_complete_and_exit()"),
    _unexported("do_exit", "5.17", "modules may not call do_exit(): a thread returns, or calls kthread_exit()"),
    _too_many("force_sig", "5.3", "force_sig() is for the current task alone: use send_sig()"),
    _change("'struct kernel_siginfo \\*' but argument is of type 'struct siginfo", "4.20", "use struct kernel_siginfo"),
    _gone("(?:interruptible_)?sleep_on(?:_timeout)?", "3.15", "use wait_event_interruptible()"),
    _gone("wait_queue_t", "4.13", "wait_queue_t is wait_queue_entry_t"),
    # symbols and system calls
    _unexported("kallsyms_(?:lookup_name|on_each_symbol)", "5.7", "kallsyms_lookup_name() is not for modules any more"),
    _unexported("sys_call_table", "2.6", "sys_call_table is not for modules"),
    _change("conflicting types for 'sys_call_table'", "2.6", "sys_call_table is not for modules"),
    _unexported("find_module|module_mutex", "5.12", "find_module() and module_mutex are not for modules"),
    _gone(f"sys_(?:{_SYSCALLS})", "4.17", "sys_*() cannot be called from within the kernel"),
    _unexported("vfs_(?:read|write)", "4.14", "use kernel_read() and kernel_write()"),
    _change(
        "error: passing argument [234] of 'kernel_(?:read|write)' makes",
        "4.14",
        "kernel_read() and kernel_write() take file, buffer, count and a pointer to the position",
    ),
    _gone("[gs]et_fs|get_ds|mm_segment_t|KERNEL_DS", "5.10", "there is no set_fs(): use kernel_read(), kernel_write()"),
    _gone("register_jprobe|jprobe_return", "4.15", "there are no jprobes: use a kprobe, or ftrace"),
    _member("kprobe", "fault_handler", "5.14", "a kprobe has no fault_handler"),
    _member("kretprobe_instance", "rp", "5.11", "the kretprobe is get_kretprobe(ri)"),
    _pointer(r"struct ftrace_regs \*\)", "5.11", "an ftrace callback is given a struct ftrace_regs"),
    _gone("FTRACE_OPS_FL_RECURSION_SAFE", "5.11", "FTRACE_OPS_FL_RECURSION_SAFE is FTRACE_OPS_FL_RECURSION"),
    # memory
    _arguments("access_ok", 3, "5.0", "access_ok() takes no VERIFY_READ or VERIFY_WRITE"),
    _gone("VERIFY_(?:READ|WRITE)", "5.0", "access_ok() takes no VERIFY_READ or VERIFY_WRITE"),
    _gone("probe_kernel_read", "5.8", "probe_kernel_read() is copy_from_kernel_nofault()"),
    _gone("probe_kernel_write", "5.8", "probe_kernel_write() is copy_to_kernel_nofault()"),
    _change(
        "too many arguments to function 'get_user_pages'; expected 4, have 5",
        "6.5",
        "get_user_pages() takes no array of vmas",
    ),
    _too_many("get_user_pages", "4.9", "get_user_pages() takes no task and no mm, and its flags in one argument"),
    _member("mm_struct", "mmap_sem", "5.8", "mm->mmap_sem is mmap_read_lock(mm)"),
    _change(r"'struct (?:mm|vm_area)_struct' has no member named '(?:mmap|vm_next)'", "6.1", "use for_each_vma()"),
    _change("read-only member 'vm_flags'", "6.3", "flags are set with vm_flags_set()"),
    _gone("VM_RESERVED", "3.7", "VM_RESERVED is VM_DONTEXPAND | VM_DONTDUMP"),
    _change(
        r"expected 'p4d_t \*' but argument is of type 'pgd_t \*'",
        "4.12",
        "there is a level between pgd and pud: p4d_offset()",
    ),
    _change(
        rf"{_FROM} 'int \(\*\)\(struct vm_area_struct \*, +struct vm_fault \*\)'",
        "4.11",
        "a fault handler is given the struct vm_fault alone: vmf->vma",
    ),
    _change(rf"{_FROM} 'int \(\*\)\(struct vm_fault \*\)'", "4.17", "a fault handler returns a vm_fault_t"),
    _member("vm_fault", "virtual_address", "4.10", "vmf->virtual_address is vmf->address"),
    _too_many("__vmalloc", "5.8", "__vmalloc() takes no protection"),
    _gone("ioremap_nocache", "5.6", "ioremap_nocache() is ioremap()"),
    _gone("PAGE_CACHE_(?:SIZE|SHIFT|MASK)", "4.6", "PAGE_CACHE_SIZE and its like are PAGE_SIZE and its like"),
    # time
    _gone("init_timer|setup_timer", "4.15", "timers are made with timer_setup()"),
    _member("timer_list", "data", "4.15", "a timer's function is given the timer: timer_setup(), and container_of()"),
    _pointer(r"'void \(\*\)\(struct timer_list \*\)", "4.15", "a timer's function is given the timer"),
    _gone("del_timer(?:_sync)?", "6.15", "del_timer() is timer_delete()"),
    _gone("from_timer", "6.16", "from_timer() is timer_container_of()"),
    _gone("hrtimer_init", "6.15", "hrtimer_init() is hrtimer_setup()"),
    _gone("do_gettimeofday", "5.0", "use ktime_get_real_ts64()"),
    _gone("current_kernel_time", "4.20", "use ktime_get_coarse_real_ts64()"),
    _change(r"storage size of .* isn't known.*\n.*struct time(?:val|spec) ", "5.6", "use struct timespec64"),
    _gone("getnstimeofday|ktime_get_ts", "5.6", "use ktime_get_real_ts64() or ktime_get_ts64()"),
    _gone("get_seconds", "5.11", "get_seconds() is ktime_get_real_seconds()"),
    _change("request for member 'tv64' in something not a structure", "4.10", "a ktime_t is a number itself"),
    _gone("CURRENT_TIME", "4.12", "CURRENT_TIME is current_time(inode)"),
    _member("inode", "i_[am]time", "6.7", "an inode's times are set with inode_set_mtime() and the like"),
    _member("inode", "i_ctime", "6.6", "an inode's ctime is set with inode_set_ctime_current()"),
    _gone("cycle_t", "4.10", "cycle_t is u64"),
    # devices
    _too_many("class_create", "6.4", "class_create() takes the name alone"),
    _member("class", "owner", "6.4", "a struct class has no owner"),
    _pointer(
        r"'char \* \(\*\)\(const struct device \*, [^']*", "6.2", "a class's devnode() is given a const struct device"
    ),
    _pointer(
        r"\(const struct class \*, +const struct class_attribute \*,[^']*",
        "",
        "a class attribute's functions are given a const class and a const attribute",
    ),
    _member("kobj_type", "default_attrs", "5.18", "default_attrs are default_groups: ATTRIBUTE_GROUPS()"),
    _pointer(r"'void \(\*\)\(struct platform_device \*\)", "6.11", "a platform driver's remove() is void"),
    _pointer(r"'int \(\*\)\(struct i2c_client \*\)", "6.3", "an I2C driver's probe() is given the client alone"),
    _pointer(r"'void \(\*\)\(struct i2c_client \*\)", "6.1", "an I2C driver's remove() is void"),
    _gone(r"(?:alloc|put)_tty_driver", "5.15", "a tty driver is made with tty_alloc_driver()"),
    _gone("__dev(?:init|exit)(?:data|const)?|__devexit_p", "3.8", "leave __devinit, __devexit and their like out"),
    _change(r"error: expected .*\n.*\b__dev(?:init|exit)", "3.8", "leave __devinit, __devexit and their like out"),
    _change(
        r"expected 'irq_handler_t'.* but argument is of type '[^']*struct pt_regs \*\)'",
        "2.6.19",
        "an interrupt handler is given no struct pt_regs",
    ),
    _gone("SA_(?:SHIRQ|INTERRUPT)", "", "SA_SHIRQ is IRQF_SHARED, and SA_INTERRUPT is left out"),
    _gone("IRQF_DISABLED", "4.1", "leave IRQF_DISABLED out"),
    _gone("register_cpu_notifier", "4.10", "use cpuhp_setup_state()"),
    _gone("register_sysctl_table", "6.5", "register_sysctl_table() is register_sysctl()"),
    _gone(_BLOCK_REQUESTS, "5.0", "block drivers use blk-mq"),
    _gone("blk_queue_make_request", "5.7", "the function is given when the disk is made"),
    _gone("alloc_disk", "5.15", "alloc_disk() is blk_alloc_disk()"),
    _member("bio", "bi_sector", "3.14", "bio->bi_sector is bio->bi_iter.bi_sector"),
    _too_many("bio_endio", "4.3", "bio_endio() takes the bio alone, the error is in it"),
    # files
    _member("file_operations", "ioctl", "2.6.36", "ioctl is unlocked_ioctl, without the inode"),
    _member("file_operations", "readdir", "3.11", "readdir is iterate_shared, with a struct dir_context"),
    _member("file_operations", "iterate", "6.5", "iterate is iterate_shared"),
    _gone("do_sync_(?:read|write)", "4.1", "files have read_iter and write_iter: leave do_sync_read() out"),
    _member("file", "f_dentry", "3.19", "file->f_dentry is file->f_path.dentry"),
    _gone("no_llseek", "6.12", "leave .llseek out"),
    _member("inode", "i_mutex", "4.7", "an inode is locked with inode_lock()"),
    _gone("path_lookup", "2.6.39", "path_lookup() is kern_path()"),
    _gone("d_alloc_root", "3.4", "d_alloc_root() is d_make_root()"),
    _member("file_system_type", "get_sb", "2.6.39", "a file system is mounted with init_fs_context, or mount"),
    _gone("mount_nodev", "6.18", "mount_nodev() is get_tree_nodev(), with init_fs_context"),
    _change(
        rf"\(\*\)\(struct user_namespace \*, +struct inode \*.* {_FROM} '[^(]*\(\*\)\((?!struct mnt_idmap )",
        "5.12",
        "an inode's operations are given a struct user_namespace first",
    ),
    _change(
        rf"\(\*\)\(struct mnt_idmap \*, +struct inode \*.* {_FROM} '",
        "6.3",
        "an inode's operations are given a struct mnt_idmap first",
    ),
    _change(
        rf"'struct dentry \* \(\*\)\(struct mnt_idmap .* {_FROM} 'int \(\*\)\(struct mnt_idmap ",
        "6.15",
        "mkdir() returns a struct dentry *: NULL where it went well",
    ),
    # network
    _gone("nf_(?:un)?register_hooks?", "4.13", "nf_register_hook(&ops) is nf_register_net_hook(&init_net, &ops)"),
    _pointer(
        r"'unsigned int \(\*\)\(void \*, +struct sk_buff \*, +const struct nf_hook_state \*\)",
        "4.4",
        "a netfilter hook is given (void *priv, struct sk_buff *skb, const struct nf_hook_state *state)",
    ),
    _member("nf_hook_ops", "owner", "4.4", "a struct nf_hook_ops has no owner"),
    _gone("NF_IP_(?:PRE_ROUTING|LOCAL_IN|FORWARD|LOCAL_OUT|POST_ROUTING)", "", "NF_IP_* are NF_INET_*"),
    _member("sk_buff", "nh|h|mac", "", "a packet's headers are ip_hdr(skb), tcp_hdr(skb), eth_hdr(skb)"),
    _too_many("netlink_kernel_create", "3.7", "netlink_kernel_create() takes net, unit and a netlink_kernel_cfg"),
    _member("netlink_skb_parms", "pid", "3.7", "NETLINK_CB(skb).pid is NETLINK_CB(skb).portid"),
    _arguments("alloc_netdev", 3, "3.17", "alloc_netdev() takes a NET_NAME_UNKNOWN before the setup function"),
    _member("net_device", "hard_start_xmit|open|stop|do_ioctl", "2.6.29", "a device's functions are in its netdev_ops"),
    _member("net_device", "trans_start", "4.7", "dev->trans_start is netif_trans_update(dev)"),
    _change(r"read-only location '\*[^']*->dev_addr'", "5.17", "an address is set with eth_hw_addr_set()"),
    _too_many("netif_napi_add", "6.1", "netif_napi_add() takes no weight"),
    _gone(
        "kernel_[gs]etsockopt", "5.8", "options are set with sock_set_reuseaddr(), tcp_sock_set_nodelay() and the like"
    ),
    _change(
        "expected 'struct sockaddr_unsized \\*' but argument is of type 'struct sockaddr \\*'",
        "6.19",
        "kernel_bind() and kernel_connect() take a struct sockaddr_unsized",
    ),
    _gone("crypto_alloc_hash", "4.6", "hashes are made with crypto_alloc_shash() or crypto_alloc_ahash()"),
    _gone("crypto_alloc_a?blkcipher", "5.5", "ciphers are made with crypto_alloc_skcipher()"),
    # work and locks
    _arguments("INIT_(?:DELAYED_)?WORK", 3, "2.6.20", "work is given the struct work_struct: container_of()"),
    _arguments("DECLARE_TASKLET(?:_DISABLED)?", 3, "5.9", "a tasklet's function is given the tasklet, and no number"),
    _arguments("hlist_for_each_entry", 4, "3.9", "hlist_for_each_entry() needs no struct hlist_node"),
    _arguments("hlist_for_each_entry_safe", 5, "3.9", "hlist_for_each_entry_safe() needs one struct hlist_node"),
    _gone("DECLARE_MUTEX|init_MUTEX", "2.6.37", "use struct mutex, or DEFINE_SEMAPHORE() and sema_init()"),
    _arguments("DEFINE_SEMAPHORE", 1, "6.4", "DEFINE_SEMAPHORE() takes the number, too"),
    _gone("SPIN_LOCK_UNLOCKED", "2.6.39", "spin locks are made with DEFINE_SPINLOCK()"),
    _gone("(?:un)?lock_kernel", "2.6.39", "there is no big kernel lock"),
    _gone("MOD_(?:INC|DEC)_USE_COUNT", "", "the kernel counts users itself: set .owner"),
    # text and numbers
    _gone("strncpy", "7.2", "strncpy() is strscpy()"),
    _gone("strlcpy", "6.8", "strlcpy() is strscpy()"),
    _gone("strict_strto(?:u?ll?)", "3.18", "strict_strtoul() is kstrtoul()"),
    _gone("prandom_u32|get_random_int", "6.1", "prandom_u32() and get_random_int() are get_random_u32()"),
    _gone("prandom_bytes", "6.1", "prandom_bytes() is get_random_bytes()"),
    # headers
    _header(r"asm/system\.h", "3.4", "there is no <asm/system.h>"),
    _header(r"asm/semaphore\.h", "2.6.27", "it is <linux/semaphore.h>"),
    _header(r"linux/config\.h", "2.6.19", "there is no <linux/config.h>, and no need for it"),
    _header(r"linux/autoconf\.h", "2.6.33", "it is <generated/autoconf.h>, which is included by itself"),
    _header(r"linux/smp_lock\.h", "2.6.39", "there is no big kernel lock, and no <linux/smp_lock.h>"),
    _header(r"linux/genhd\.h", "5.18", "this is in <linux/blkdev.h>"),
    _header(r"stdarg\.h", "5.16", "it is <linux/stdarg.h>"),
    _header(r"asm/unaligned\.h", "6.12", "it is <linux/unaligned.h>"),
)

#: a compiler's guess at what was meant names other things
_GUESS = re.compile(r"; did you mean '[^']*'\?")


def outdated(log: str, kernel: str) -> Change | None:
    """Return the change of the kernel that the code has not followed: the first that an error in the log shows.

    Args:
        log: what make printed.
        kernel: the version that it was built for; what a newer one has changed is none of its errors.
    """
    said = _GUESS.sub("", log)
    made = [change for change in CHANGES if change.made_by(kernel)]
    found = [(match.start(), change) for change in made if (match := change.words.search(said))]
    return min(found, key=lambda one: one[0])[1] if found else None
