// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/task_lister, one line a process, and /proc/task_detail, one block.
 */
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/sched/cputime.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/time64.h>

#include "lister.h"

/**
 * tl_blanks() - print blanks, any number of them
 * @m: the open file
 * @count: how many; seq_printf() takes fewer only, and takes longer
 *
 * Context: Any.
 */
void tl_blanks(struct seq_file *m, size_t count)
{
	char *to;

	if (seq_get_buf(m, &to) < count) {
		seq_commit(m, -1);
		return;
	}
	memset(to, ' ', count);
	seq_commit(m, count);
}

/* Blanks after what was put at @from, up to @width columns. */
static void pad(struct seq_file *m, size_t from, size_t width)
{
	size_t length = m->count - from;

	if (length < width)
		tl_blanks(m, width - length);
}

static void put_number(struct seq_file *m, const char *delimiter,
		       unsigned long number, size_t width)
{
	size_t from = m->count;

	seq_put_decimal_ull(m, delimiter, number);
	pad(m, from, width);
}

static void put_text(struct seq_file *m, const char *delimiter,
		     const char *text, size_t width)
{
	size_t from = m->count;

	seq_puts(m, delimiter);
	seq_puts(m, text);
	pad(m, from, width);
}

/*
 * "%-8d %-8d %-20s %-12s %-10lu %-10lu %-8d %-8u %-8u\n", without seq_printf(),
 * which makes a long list take a quarter longer at least.
 */
static void list_row(struct seq_file *m, struct tl_cursor *cursor)
{
	struct user_namespace *user_ns = seq_user_ns(m);
	struct tl_task t;

	tl_task_read(&t, cursor->task, cursor->ns);
	put_number(m, "", cursor->pid, 8);
	put_number(m, " ", t.ppid, 1 + 8);
	put_text(m, " ", t.command, 1 + 20);
	put_text(m, " ", tl_state_name(t.state), 1 + 12);
	put_number(m, " ", tl_kb(t.vm), 1 + 10);
	put_number(m, " ", tl_kb(t.rss), 1 + 10);
	put_number(m, " ", t.threads, 1 + 8);
	put_number(m, " ", from_kuid_munged(user_ns, t.uid), 1 + 8);
	put_number(m, " ", from_kgid_munged(user_ns, t.gid), 1 + 8);
	seq_putc(m, '\n');
}

static int list_show(struct seq_file *m, void *v)
{
	struct tl_cursor *cursor = m->private;

	switch (cursor->place) {
	case TL_HEADER:
		seq_puts(m, TL_TITLE("LINUX KERNEL TASK LISTER") "\n");
		seq_printf(m,
			   "%-8s %-8s %-20s %-12s %-10s %-10s %-8s %-8s %s\n",
			   "PID", "PPID", "COMMAND", "STATE", "VM(KB)",
			   "RSS(KB)", "THREADS", "UID", "GID");
		seq_puts(m, TL_RULE "\n");
		break;
	case TL_PROCESS:
		list_row(m, cursor);
		break;
	case TL_FOOTER:
		seq_puts(m, TL_RULE "\n");
		seq_printf(m, "Total processes listed: %u\n", cursor->rows);
		seq_printf(m, "Page size: %lu bytes\n", PAGE_SIZE);
		break;
	}
	return 0;
}

static const char *policy_name(unsigned int policy)
{
	static const char * const names[] = {
		[SCHED_NORMAL] = "NORMAL",
		[SCHED_FIFO] = "FIFO",
		[SCHED_RR] = "RR",
		[SCHED_BATCH] = "BATCH",
		[SCHED_IDLE] = "IDLE",
		[SCHED_DEADLINE] = "DEADLINE",
		[SCHED_EXT] = "EXT",
	};

	if (policy < ARRAY_SIZE(names) && names[policy])
		return names[policy];
	return "UNKNOWN";
}

static void detail_scheduling(struct seq_file *m, struct task_struct *task)
{
	u64 utime, stime;

	task_cputime_adjusted(task, &utime, &stime);
	seq_printf(m, "  Priority: %d\n", READ_ONCE(task->prio));
	seq_printf(m, "  Nice Value: %d\n", task_nice(task));
	seq_printf(m, "  CPU: %u\n", task_cpu(task));
	seq_printf(m, "  Start Time: %llu ns\n", task->start_boottime);
	seq_printf(m, "  User Time: %llu ms\n", div_u64(utime, NSEC_PER_MSEC));
	seq_printf(m, "  System Time: %llu ms\n",
		   div_u64(stime, NSEC_PER_MSEC));
	seq_printf(m, "  Voluntary Switches: %lu\n", READ_ONCE(task->nvcsw));
	seq_printf(m, "  Involuntary Switches: %lu\n",
		   READ_ONCE(task->nivcsw));
	seq_printf(m, "  Scheduling Policy: %s\n",
		   policy_name(READ_ONCE(task->policy)));
}

static void detail_block(struct seq_file *m, struct tl_cursor *cursor)
{
	struct user_namespace *user_ns = seq_user_ns(m);
	struct tl_task t;

	tl_task_read(&t, cursor->task, cursor->ns);
	seq_printf(m, "PID: %d\n", cursor->pid);
	seq_printf(m, "  Command: %s\n", t.command);
	seq_printf(m, "  State: %s\n", tl_state_name(t.state));
	seq_printf(m, "  Parent PID: %d\n", t.ppid);
	seq_printf(m, "  UID: %u, GID: %u\n",
		   from_kuid_munged(user_ns, t.uid),
		   from_kgid_munged(user_ns, t.gid));
	seq_printf(m, "  Virtual Memory: %lu KB\n", tl_kb(t.vm));
	seq_printf(m, "  Resident Memory (RSS): %lu KB\n", tl_kb(t.rss));
	seq_printf(m, "  Number of Threads: %d\n", t.threads);
	detail_scheduling(m, cursor->task);
	seq_putc(m, '\n');
}

static int detail_show(struct seq_file *m, void *v)
{
	struct tl_cursor *cursor = m->private;

	if (cursor->place == TL_HEADER)
		seq_puts(m, TL_TITLE("DETAILED TASK INFORMATION") "\n\n");
	else if (cursor->place == TL_PROCESS)
		detail_block(m, cursor);
	return 0;
}

static int list_open(struct inode *inode, struct file *file)
{
	static const struct seq_operations ops = {
		.start = tl_cursor_start,
		.next = tl_cursor_next,
		.stop = tl_cursor_stop,
		.show = list_show,
	};

	return tl_cursor_open(inode, file, &ops);
}

static int detail_open(struct inode *inode, struct file *file)
{
	static const struct seq_operations ops = {
		.start = tl_cursor_start,
		.next = tl_cursor_next,
		.stop = tl_cursor_stop,
		.show = detail_show,
	};

	return tl_cursor_open(inode, file, &ops);
}

const struct proc_ops tl_list_ops = {
	.proc_open = list_open,
	.proc_read_iter = seq_read_iter,
	.proc_lseek = seq_lseek,
	.proc_release = seq_release_private,
};

const struct proc_ops tl_detail_ops = {
	.proc_open = detail_open,
	.proc_read_iter = seq_read_iter,
	.proc_lseek = seq_lseek,
	.proc_release = seq_release_private,
};
