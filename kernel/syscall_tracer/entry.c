// SPDX-License-Identifier: GPL-2.0-only
/*
 * A system call enters: it is recorded and judged.
 */
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/magic.h>
#include <linux/ratelimit.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>

#include "entry.h"

#define CONTROL_FILE	"/proc/syscall_tracer"
#define SOCKADDR_MAX	128	/* what the kernel takes */

/* Numbers of procfs' own files are the same in each of its mounts. */
static unsigned long control_ino;

static DEFINE_RATELIMIT_STATE(blocked_limit, 5 * HZ, 50);

/**
 * sct_entry_control_file() - get to know the control file
 * @inode: of the file, in any mount of procfs
 *
 * Context: Any.
 */
void sct_entry_control_file(const struct inode *inode)
{
	WRITE_ONCE(control_ino, inode->i_ino);
}

/* The pages are not faulted in: this is no context for that. */
static ssize_t read_path(u8 *to, const void __user *from, size_t room)
{
	ssize_t n;

	pagefault_disable();
	n = strncpy_from_user((char *)to, from, room);
	pagefault_enable();
	return n;
}

static ssize_t read_sockaddr(u8 *to, const void __user *from, int length,
			     size_t room)
{
	size_t n = clamp(length, 0, SOCKADDR_MAX);

	n = min(n, room);
	return copy_from_user_nofault(to, from, n) ? -EFAULT : n;
}

/* Whether there is more of it than the @room bytes that were read. */
static bool goes_on(const struct sct_record *rec, u8 arg, char kind,
		    size_t room)
{
	const char __user *from = (const char __user *)(unsigned long)rec->args[arg];
	char next;

	if (kind == SCT_ARG_SOCKADDR)
		return clamp((int)rec->args[arg + 1], 0, SOCKADDR_MAX) > room;
	/* Of a path that just fits the terminator was not looked at. */
	return copy_from_user_nofault(&next, from + room, 1) || next;
}

/* Appends one item, with at most @room bytes after its header. */
static void capture(struct sct_record *rec, u8 arg, char kind, size_t room)
{
	const void __user *from = (const void __user *)(unsigned long)rec->args[arg];
	struct sct_item *item = (struct sct_item *)(rec->data + rec->size);
	struct sct_item head = { .arg = arg };
	ssize_t n;

	if (kind == SCT_ARG_PATH)
		n = read_path(item->data, from, room);
	else
		n = read_sockaddr(item->data, from, rec->args[arg + 1], room);
	if (n < 0) {
		rec->flags |= SCT_UNREADABLE;
		return;
	}
	if (n == room && goes_on(rec, arg, kind, room))
		rec->flags |= SCT_TRUNCATED;
	head.size = n;
	/* The second item may begin anywhere. */
	memcpy(item, &head, sizeof(head));
	rec->size += sizeof(head) + n;
}

/**
 * sct_entry_capture() - read what the arguments of a call point to
 * @hook: where it entered
 * @rec: its record, which gets the data
 * @room: bytes of data that the record has room for
 *
 * Context: Any that belongs to the calling task, with preemption off.
 */
void sct_entry_capture(const struct sct_hook *hook, struct sct_record *rec,
		       size_t room)
{
	size_t share = hook->captures ? room / hook->captures : 0;
	unsigned int i;

	rec->size = 0;
	rec->flags &= ~(SCT_UNREADABLE | SCT_TRUNCATED);
	for (i = 0; i < hook->captures; i++) {
		u8 arg = hook->capture[i].arg;

		if (rec->args[arg])
			capture(rec, arg, hook->capture[i].kind,
				share - sizeof(struct sct_item));
	}
}

NOKPROBE_SYMBOL(sct_entry_capture);

static bool is_control_path(const struct sct_record *rec)
{
	struct sct_item head;

	if (rec->size < sizeof(head))
		return false;
	memcpy(&head, rec->data, sizeof(head));
	return head.size == strlen(CONTROL_FILE) &&
	       !memcmp(rec->data + sizeof(head), CONTROL_FILE, head.size);
}

static bool is_control_fd(unsigned int fd)
{
	const struct inode *inode;
	const struct file *file;
	bool is;

	rcu_read_lock();
	file = current->files ? files_lookup_fd_raw(current->files, fd) : NULL;
	inode = file ? file_inode(file) : NULL;
	is = inode && inode->i_ino == READ_ONCE(control_ino) &&
	     inode->i_sb->s_magic == PROC_SUPER_MAGIC;
	rcu_read_unlock();
	return is;
}

/*
 * PID 1 must not be blocked, for its end is the system's; nor root from the
 * file that unblocks.
 */
static bool is_exempt(const struct sct_record *rec)
{
	if (rec->pid == 1)
		return true;
	if (!uid_eq(current_euid(), GLOBAL_ROOT_UID))
		return false;
	if (*sct_call_signature(rec->call) == SCT_ARG_FD &&
	    is_control_fd(rec->args[0]))
		return true;
	return is_control_path(rec);
}

/* A filter says so: unless it is exempt, the call is marked or stopped. */
static noinline int block(struct sct_record *rec, int err)
{
	if (is_exempt(rec))
		return 0;
	rec->status = SCT_BLOCKED;
	if (!sct_enforcing())
		return 0;
	rec->flags |= SCT_ENFORCED;
	rec->ret = -err;
	return -err;
}

NOKPROBE_SYMBOL(block);

/* Of a record that is filled, and allowed so far. */
static __always_inline int judge(struct sct_record *rec)
{
	int err = sct_filters_judge(sct_entry_filters(), rec);

	return likely(!err) ? 0 : block(rec, err);
}

/**
 * sct_entry_fill() - record and judge a call
 * @hook: where it entered
 * @regs: the registers of the caller
 * @rec: gets all but what the ring adds
 * @room: bytes of data that @rec has room for
 *
 * Context: Any that belongs to the calling task, with preemption off.
 * Return: 0, or what the call is to return instead of running.
 */
int sct_entry_fill(const struct sct_hook *hook, const struct pt_regs *regs,
		   struct sct_record *rec, size_t room)
{
	sct_entry_fill_plain(hook->call, regs, ktime_get_mono_fast_ns(), rec);
	rec->comm[SCT_COMM_LEN - 1] = '\0';
	if (hook->captures)
		sct_entry_capture(hook, rec, room);
	return judge(rec);
}

NOKPROBE_SYMBOL(sct_entry_fill);

static noinline void report(const struct sct_record *rec)
{
	if (___ratelimit(&blocked_limit, KBUILD_MODNAME))
		pr_info(KBUILD_MODNAME ": Blocked %s() from PID %d\n",
			sct_call_name(rec->call), rec->pid);
}

NOKPROBE_SYMBOL(report);

/* Of a call that is issued: whether it came to what not all do. */
static __always_inline void count_outcome(const struct sct_hook *hook,
					  const struct sct_record *rec)
{
	if (unlikely(rec->status == SCT_BLOCKED))
		this_cpu_inc(hook->counts->blocked);
	if (rec->flags & SCT_RETURNED && IS_ERR_VALUE(rec->ret))
		this_cpu_inc(hook->counts->failed);
}

/* Who listens to nothing else is told of a call that is blocked. */
static noinline void tell(const struct sct_record *rec)
{
	sct_deliver_poke(sct_ring_keep_blocked(rec),
			 this_cpu_read(sct_blocked_rings.mask));
}

NOKPROBE_SYMBOL(tell);

/* The kernel's log is told of a call that is blocked, too. */
static __always_inline void finish(u64 n, const struct sct_record *rec)
{
	bool blocked = unlikely(rec->status == SCT_BLOCKED);

	if (blocked && sct_deliver_wants_blocked())
		tell(rec);
	sct_entry_done(n, rec);
	if (blocked)
		report(rec);
}

/**
 * sct_entry_complete() - the rest of sct_entry(), where there is any
 * @hook: where a call entered
 * @rec: its record, filled
 *
 * Context: As sct_entry().
 * Return: As sct_entry().
 */
int notrace sct_entry_complete(const struct sct_hook *hook,
			       struct sct_record *rec)
{
	int err;

	if (hook->captures)
		sct_entry_capture(hook, rec, sct_data_bytes);
	err = judge(rec);
	count_outcome(hook, rec);
	finish(this_cpu_read(sct_rings.head), rec);
	return err;
}

NOKPROBE_SYMBOL(sct_entry_complete);

/**
 * sct_entry_push() - record a call that was filled elsewhere
 * @hook: where it entered
 * @rec: the call, all but what the ring adds
 *
 * Context: As sct_entry().
 */
void sct_entry_push(const struct sct_hook *hook, const struct sct_record *rec)
{
	u64 n = this_cpu_read(sct_rings.head);
	struct sct_record ring_part;
	struct sct_record *slot;

	this_cpu_inc(hook->counts->issued);
	count_outcome(hook, rec);
	if (!sct_ring_claim(n))
		return;
	slot = sct_ring_begin(n);
	ring_part = *slot;
	memcpy(slot, rec, sizeof(*rec) + rec->size);
	slot->seq = ring_part.seq;
	slot->jiffies = ring_part.jiffies;
	slot->cpu = ring_part.cpu;
	finish(n, slot);
}

NOKPROBE_SYMBOL(sct_entry_push);

/* Filters hold for who is left out, too: what one of them blocks is recorded. */
static noinline int judge_elsewhere(const struct sct_hook *hook,
				    const struct pt_regs *regs,
				    struct sct_record *rec)
{
	int err = sct_entry_fill(hook, regs, rec, sct_data_bytes);

	if (rec->status == SCT_BLOCKED)
		sct_entry_push(hook, rec);
	else
		this_cpu_inc(sct_rings.excluded);
	return err;
}

NOKPROBE_SYMBOL(judge_elsewhere);

/**
 * sct_entry_exclude() - a call enters that is left out
 * @hook: where
 * @regs: the registers of the caller
 *
 * Should it interrupt another one that is just being judged, then it is not judged
 * itself, as no call is that interrupts a recording.
 *
 * Context: As sct_entry().
 * Return: As sct_entry().
 */
int notrace sct_entry_exclude(const struct sct_hook *hook,
			      const struct pt_regs *regs)
{
	struct sct_record *rec = NULL;
	int err;

	if (sct_entry_filters()->first[hook->call] != SCT_FILTERS_MAX)
		rec = sct_left_out_borrow();
	if (!rec) {
		this_cpu_inc(sct_rings.excluded);
		return 0;
	}
	err = judge_elsewhere(hook, regs, rec);
	sct_left_out_return();
	return err;
}

NOKPROBE_SYMBOL(sct_entry_exclude);
