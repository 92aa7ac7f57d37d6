// SPDX-License-Identifier: GPL-2.0-only
/*
 * From one process to the next: the walk by number, and the position of an
 * open file in it.
 *
 * Positions in a file: 0 is what stands above the processes, 1 to
 * PID_MAX_LIMIT the process with this number or else the next one, and one
 * more what stands below them.
 */
#include <linux/err.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/threads.h>

#include "lister.h"

#define SCAN_BATCH	256	/* numbers looked at in one RCU section */
#define HEADER_POS	0
#define FOOTER_POS	(PID_MAX_LIMIT + 1)

/*
 * The first process among the next SCAN_BATCH numbers from *pid on. Numbers of
 * mere threads lie in between, any number of them. Moves *pid to the process,
 * or behind what was looked at. *end: there are no more numbers.
 */
static struct task_struct *scan(struct pid_namespace *ns, pid_t *pid, bool *end)
{
	struct task_struct *task = NULL;
	struct pid *found = NULL;
	int left;

	rcu_read_lock();
	for (left = SCAN_BATCH; left; left--) {
		found = find_ge_pid(*pid, ns);
		if (!found)
			break;
		*pid = pid_nr_ns(found, ns);
		task = pid_task(found, PIDTYPE_TGID);
		if (task) {
			get_task_struct(task);
			break;
		}
		++*pid;
	}
	rcu_read_unlock();
	*end = !found;
	return task;
}

/**
 * tl_next_process() - find the next process of a PID namespace
 * @ns: the namespace
 * @pid: where to begin, at least 1; set to the number of the process found
 *
 * Each process has its one number for as long as it lives, so a walk that goes
 * on from the number after the last finds every process that lives through the
 * walk, and none twice.
 *
 * Context: Process context, may sleep. The caller puts the task.
 * Return: the leader of the process with the least number that is not below
 * @pid, referenced; NULL if there is none; an ERR_PTR() when the caller has been
 * killed.
 */
struct task_struct *tl_next_process(struct pid_namespace *ns, pid_t *pid)
{
	struct task_struct *task;
	bool end;

	do {
		cond_resched();
		if (fatal_signal_pending(current))
			return ERR_PTR(-EINTR);
		task = scan(ns, pid, &end);
	} while (!task && !end);
	return task;
}

static void drop(struct tl_cursor *cursor)
{
	if (cursor->task)
		put_task_struct(cursor->task);
	cursor->task = NULL;
}

/* Stand at *pos, or, where no process has this number, behind it. */
static void *seek_task(struct tl_cursor *cursor, loff_t *pos)
{
	struct task_struct *task;

	if (*pos > FOOTER_POS)
		return NULL;
	if (*pos == HEADER_POS) {
		cursor->rows = 0;
		cursor->place = TL_HEADER;
		return cursor;
	}
	if (*pos < FOOTER_POS) {
		cursor->pid = *pos;
		task = tl_next_process(cursor->ns, &cursor->pid);
		if (IS_ERR(task))
			return ERR_CAST(task);
		if (task) {
			cursor->task = task;
			cursor->place = TL_PROCESS;
			*pos = cursor->pid;
			return cursor;
		}
	}
	cursor->place = TL_FOOTER;
	*pos = FOOTER_POS;
	return cursor;
}

/**
 * tl_cursor_start() - seq_file start: take up the walk where it was left
 * @m: the open file; its private data is a &struct tl_cursor
 * @pos: position
 *
 * Context: Process context, may sleep.
 * Return: the cursor, NULL behind the end, or an ERR_PTR().
 */
void *tl_cursor_start(struct seq_file *m, loff_t *pos)
{
	return seek_task(m->private, pos);
}

/**
 * tl_cursor_next() - seq_file next: leave what was shown, go to what follows
 * @m: the open file
 * @v: the cursor
 * @pos: position
 *
 * Counts the row that it leaves. A row that did not fit into the buffer is not
 * left but started again, so none is counted twice.
 *
 * Context: Process context, may sleep.
 * Return: as tl_cursor_start().
 */
void *tl_cursor_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct tl_cursor *cursor = m->private;

	if (cursor->place == TL_PROCESS)
		cursor->rows++;
	drop(cursor);
	++*pos;
	return seek_task(cursor, pos);
}

/**
 * tl_cursor_stop() - seq_file stop: keep the position, let go of the task
 * @m: the open file
 * @v: not used
 *
 * Context: Process context, may sleep.
 */
void tl_cursor_stop(struct seq_file *m, void *v)
{
	drop(m->private);
}

/**
 * tl_cursor_open() - open a file that shows one process after another
 * @inode: of the file; says which procfs mount it is in
 * @file: being opened
 * @ops: the functions above, and show; close with seq_release_private()
 *
 * Context: Process context, may sleep.
 * Return: 0 or a negative errno.
 */
int tl_cursor_open(struct inode *inode, struct file *file,
		   const struct seq_operations *ops)
{
	struct tl_cursor *cursor;
	int err;

	err = tl_may_open(inode);
	if (err)
		return err;
	cursor = __seq_open_private(file, ops, sizeof(*cursor));
	if (!cursor)
		return -ENOMEM;
	cursor->ns = proc_pid_ns(inode->i_sb);
	return 0;
}
