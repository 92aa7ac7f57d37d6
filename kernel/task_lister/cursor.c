// SPDX-License-Identifier: GPL-2.0-only
/*
 * From one process to the next: the walk by number, and the position of an
 * open file in it.
 *
 * Positions in a file: 0 is what stands above the processes, 1 to
 * PID_MAX_LIMIT the process with this number or else the next one, as many
 * again those that are gone, and one more what stands below them. Where who has
 * ended is shown, 1 and more is the end of this number, and the last position of
 * all what stands below.
 */
#include <linux/err.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/threads.h>

#include "lister.h"

#define READ_SIZE	(16 * 1024)	/* of text that one read() returns at most */
#define SCAN_BATCH	256	/* numbers looked at in one RCU section */
#define HEADER_POS	0
#define GONE_POS	(PID_MAX_LIMIT + 1)
#define FOOTER_POS	(2 * PID_MAX_LIMIT + 1)
#define ENDED_FOOTER_POS	((loff_t)(S64_MAX - 1))

/*
 * The first process among the next SCAN_BATCH numbers from *pid on, or the first
 * thread. Numbers of mere threads lie in between, any number of them. Moves *pid
 * to the process, or behind what was looked at. *end: there are no more numbers.
 */
static struct task_struct *scan(struct pid_namespace *ns, pid_t *pid,
				enum pid_type type, bool *end)
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
		task = pid_task(found, type);
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

static struct task_struct *next_of_type(struct pid_namespace *ns, pid_t *pid,
					enum pid_type type)
{
	struct task_struct *task;
	bool end;

	do {
		cond_resched();
		if (fatal_signal_pending(current))
			return ERR_PTR(-EINTR);
		task = scan(ns, pid, type, &end);
	} while (!task && !end);
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
	return next_of_type(ns, pid, PIDTYPE_TGID);
}

static int is_shown(struct tl_cursor *cursor, struct task_struct *task)
{
	if (!tl_is_selected(cursor, task))
		return 0;
	return cursor->selection->is_since ? tl_since_found(cursor, task) : 1;
}

/* The next one that the reader has chosen; each one, where it has not. */
static struct task_struct *next_chosen(struct tl_cursor *cursor)
{
	const struct tl_selection *selection = cursor->selection;
	struct task_struct *task;
	enum pid_type type;
	int show;

	if (!selection)
		return tl_next_process(cursor->ns, &cursor->pid);
	type = selection->threads ? PIDTYPE_PID : PIDTYPE_TGID;
	for (; tl_may_be_selected(selection, &cursor->pid); cursor->pid++) {
		task = next_of_type(cursor->ns, &cursor->pid, type);
		if (IS_ERR_OR_NULL(task))
			return task;
		show = is_shown(cursor, task);
		if (show > 0)
			return task;
		put_task_struct(task);
		if (show < 0)
			return ERR_PTR(show);
	}
	return NULL;
}

static void drop(struct tl_cursor *cursor)
{
	if (cursor->task)
		put_task_struct(cursor->task);
	cursor->task = NULL;
}

/* The next task that is gone since the pass that was asked for. */
static bool find_gone(struct tl_cursor *cursor, loff_t *pos)
{
	u32 index = *pos - GONE_POS;

	if (!cursor->selection || !cursor->selection->is_since)
		return false;
	cursor->gone = tl_since_gone(cursor, &index);
	*pos = GONE_POS + index;
	return cursor->gone;
}

static void *begin(struct tl_cursor *cursor)
{
	cursor->rows = 0;
	tl_pass_begin(&cursor->pass);
	if (cursor->selection)
		tl_since_begin(cursor);
	if (cursor->selection && cursor->selection->is_ended)
		tl_ended_look(cursor);
	cursor->place = TL_HEADER;
	return cursor;
}

/* The next one that has ended, and that the reader has chosen. */
static bool next_ended(struct tl_cursor *cursor, u64 *number)
{
	for (; tl_ended_next(cursor, number); ++*number) {
		if (tl_is_ended_selected(cursor->selection, &cursor->ended))
			return true;
		cond_resched();
	}
	return false;
}

static void *seek_ended(struct tl_cursor *cursor, loff_t *pos)
{
	u64 number = max_t(u64, *pos, cursor->from);

	if (*pos > ENDED_FOOTER_POS)
		return NULL;
	if (*pos == HEADER_POS)
		return begin(cursor);
	if (*pos < ENDED_FOOTER_POS && next_ended(cursor, &number)) {
		cursor->place = TL_PROCESS;
		*pos = number;
		return cursor;
	}
	cursor->place = TL_FOOTER;
	*pos = ENDED_FOOTER_POS;
	return cursor;
}

/* Stand at *pos, or, where no process has this number, behind it. */
static void *seek_task(struct tl_cursor *cursor, loff_t *pos)
{
	struct task_struct *task;

	if (*pos > FOOTER_POS)
		return NULL;
	if (*pos == HEADER_POS)
		return begin(cursor);
	if (*pos < GONE_POS) {
		cursor->pid = *pos;
		task = next_chosen(cursor);
		if (IS_ERR(task))
			return ERR_CAST(task);
		if (task) {
			cursor->task = task;
			cursor->place = TL_PROCESS;
			*pos = cursor->pid;
			return cursor;
		}
		*pos = GONE_POS;
	}
	if (*pos < FOOTER_POS && find_gone(cursor, pos)) {
		cursor->place = TL_GONE;
		return cursor;
	}
	cursor->place = TL_FOOTER;
	*pos = FOOTER_POS;
	return cursor;
}

static void *seek(struct tl_cursor *cursor, loff_t *pos)
{
	if (cursor->selection && cursor->selection->is_ended)
		return seek_ended(cursor, pos);
	return seek_task(cursor, pos);
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
	return seek(m->private, pos);
}

static void leave(struct tl_cursor *cursor)
{
	switch (cursor->place) {
	case TL_PROCESS:
		tl_since_left(cursor);
		fallthrough;
	case TL_GONE:
		cursor->rows++;
		break;
	case TL_FOOTER:
		if (cursor->selection && cursor->selection->is_since)
			tl_since_end(cursor);
		break;
	case TL_HEADER:
		break;
	}
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

	leave(cursor);
	drop(cursor);
	++*pos;
	return seek(cursor, pos);
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
 * @ops: the functions above, and show; close with tl_cursor_release()
 *
 * Context: Process context, may sleep.
 * Return: 0 or a negative errno.
 */
int tl_cursor_open(struct inode *inode, struct file *file,
		   const struct seq_operations *ops)
{
	struct tl_cursor *cursor;
	struct seq_file *m;
	int err;

	err = tl_may_open(inode);
	if (err)
		return err;
	cursor = __seq_open_private(file, ops, sizeof(*cursor));
	if (!cursor)
		return -ENOMEM;
	cursor->ns = proc_pid_ns(inode->i_sb);
	cursor->user_ns = file->f_cred->user_ns;
	/* Where there is no room for it, seq_file takes one page. */
	m = file->private_data;
	m->buf = kvmalloc(READ_SIZE, GFP_KERNEL_ACCOUNT);
	m->size = m->buf ? READ_SIZE : 0;
	return 0;
}

/**
 * tl_cursor_rewind() - have the next read begin anew, wherever it begins
 * @m: the open file, whose lock is held
 *
 * What lies in the buffer was made for what the reader asked before.
 *
 * Context: Process context.
 */
void tl_cursor_rewind(struct seq_file *m)
{
	lockdep_assert_held(&m->lock);
	m->index = 0;
	m->count = 0;
	m->from = 0;
	m->read_pos = 0;
}

/**
 * tl_cursor_release() - close a file that tl_cursor_open() has opened
 * @inode: of the file
 * @file: being closed
 *
 * Context: Process context, may sleep.
 * Return: 0.
 */
int tl_cursor_release(struct inode *inode, struct file *file)
{
	struct seq_file *m = file->private_data;
	struct tl_cursor *cursor = m->private;

	tl_since_free(cursor);
	kfree(cursor->selection);
	return seq_release_private(inode, file);
}
