// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/task_lister, one line a process, and /proc/task_detail, one block.
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/mutex.h>
#include <linux/sched/cputime.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
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

#define ROW_MAX	256	/* more than a row with each column at its widest */

/*
 * One column, put where blanks are. Returns where the next one begins: behind a
 * blank, also where this one is wider than @width.
 */
static char *put_text(char *to, const char *text, size_t width)
{
	size_t length;

	for (length = 0; text[length]; length++)
		to[length] = text[length];
	return to + max(length, width) + 1;
}

static char *put_number(char *to, unsigned long number, size_t width)
{
	unsigned long rest = number;
	size_t length = 1, at;

	while (rest /= 10)
		length++;
	for (at = length; at--; number /= 10)
		to[at] = '0' + number % 10;
	return to + max(length, width) + 1;
}

/*
 * "%-8d %-8d %-20s %-12s %-10lu %-10lu %-8d %-8u %-8u\n", without seq_printf(),
 * which would make a long list take thrice as long.
 */
static void list_row(struct seq_file *m, struct tl_cursor *cursor)
{
	struct user_namespace *user_ns = seq_user_ns(m);
	struct tl_task t;
	char *row, *to;

	if (seq_get_buf(m, &row) < ROW_MAX) {
		seq_commit(m, -1);
		return;
	}
	tl_task_read(&t, cursor->task, cursor->ns);
	memset(row, ' ', ROW_MAX);
	to = put_number(row, cursor->pid, 8);
	to = put_number(to, t.ppid, 8);
	to = put_text(to, t.command, 20);
	to = put_text(to, tl_state_name(t.state), 12);
	to = put_number(to, tl_kb(t.vm), 10);
	to = put_number(to, tl_kb(t.rss), 10);
	to = put_number(to, t.threads, 8);
	to = put_number(to, from_kuid_munged(user_ns, t.uid), 8);
	to = put_number(to, from_kgid_munged(user_ns, t.gid), 8);
	to[-1] = '\n';
	seq_commit(m, to - row);
}

static int list_show(struct seq_file *m, void *v)
{
	struct tl_cursor *cursor = m->private;

	if (cursor->selection) {
		tl_select_show(m, cursor);
		return 0;
	}
	switch (cursor->place) {
	case TL_GONE:
		break;
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
		   tl_policy_name(READ_ONCE(task->policy)));
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

/*
 * A selection is for this open file alone, and for the next read on, which is
 * from the beginning.
 */
static ssize_t list_write(struct file *file, const char __user *text,
			  size_t size, loff_t *pos)
{
	struct seq_file *m = file->private_data;
	struct tl_cursor *cursor = m->private;
	struct tl_selection *selection = tl_selection_of(cursor, text, size);

	if (IS_ERR(selection))
		return PTR_ERR(selection);
	mutex_lock(&m->lock);
	swap(cursor->selection, selection);
	tl_cursor_rewind(m);
	*pos = 0;
	mutex_unlock(&m->lock);
	kfree(selection);
	return size;
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
	.proc_write = list_write,
	.proc_lseek = seq_lseek,
	.proc_release = tl_cursor_release,
};

const struct proc_ops tl_detail_ops = {
	.proc_open = detail_open,
	.proc_read_iter = seq_read_iter,
	.proc_lseek = seq_lseek,
	.proc_release = tl_cursor_release,
};
