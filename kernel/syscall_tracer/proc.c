// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/syscall_tracer: the log and the filters to read, commands to write;
 * /proc/syscall_tracer_stats: the statistics.
 */
#include <linux/err.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uidgid.h>

#include "tracer.h"

#define FILE_NAME	"syscall_tracer"
#define STATS_NAME	"syscall_tracer_stats"

/**
 * struct page_view - what one open file shows
 * @log: the log as it was at open
 * @filters: the filters as they were at open
 *
 * The file has a header, a row for each record, and a tail: positions 0,
 * 1 to @log->count, and @log->count + 1.
 */
struct page_view {
	struct sct_log *log;
	struct sct_filters *filters;
};

static void *view_start(struct seq_file *m, loff_t *pos)
{
	struct page_view *view = m->private;

	return *pos <= view->log->count + 1 ? pos : NULL;
}

static void *view_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	cond_resched();
	if (fatal_signal_pending(current))
		return ERR_PTR(-EINTR);
	return view_start(m, pos);
}

static void view_stop(struct seq_file *m, void *v)
{
}

static void show_header(struct seq_file *m)
{
	seq_puts(m, "System Call Tracer Log\n"
		 "======================\n");
	seq_printf(m, "%-10s %-10s %-15s %-10s %-10s %-10s %-4s %-15s %-3s ",
		   "Syscall", "PID", "Timestamp", "Status", "TID", "UID",
		   "CPU", "COMM", "ABI");
	seq_printf(m, "%-8s %-10s %-8s %s\n", "RETURN", "LATENCY", "SEQ",
		   "ARGS");
	seq_puts(m, "--------------------------------------------------------\n");
}

static void show_filters(struct seq_file *m, const struct sct_filters *filters)
{
	unsigned int i;

	seq_puts(m, "\nActive Filters:\n"
		 "===============\n");
	for (i = 0; i < filters->count; i++)
		sct_text_filter(m, &filters->filter[i]);
	if (!filters->count)
		seq_puts(m, "No filters active\n");
}

static void show_tail(struct seq_file *m, const struct page_view *view)
{
	seq_printf(m, "\nTotal entries: %zu\n", view->log->count);
	show_filters(m, view->filters);
}

static int view_show(struct seq_file *m, void *v)
{
	const struct page_view *view = m->private;
	size_t pos = *(loff_t *)v;

	if (!pos)
		show_header(m);
	else if (pos <= view->log->count)
		sct_text_row(m, view->log->row[pos - 1]);
	else
		show_tail(m, view);
	return 0;
}

static const struct seq_operations view_ops = {
	.start	= view_start,
	.next	= view_next,
	.stop	= view_stop,
	.show	= view_show,
};

static struct page_view *view_take(void)
{
	struct page_view *view = kzalloc(sizeof(*view), GFP_KERNEL_ACCOUNT);
	int err;

	if (!view)
		return ERR_PTR(-ENOMEM);
	view->log = sct_log_take();
	if (IS_ERR(view->log)) {
		err = PTR_ERR(view->log);
		kfree(view);
		return ERR_PTR(err);
	}
	mutex_lock(&sct_lock);
	view->filters = sct_filters_get();
	mutex_unlock(&sct_lock);
	return view;
}

static void view_free(struct page_view *view)
{
	sct_filters_put(view->filters);
	sct_log_free(view->log);
	kfree(view);
}

/* Who only writes needs no picture, and has no position to seek to. */
static int view_open(struct inode *inode, struct file *file)
{
	struct page_view *view;
	int err;

	sct_entry_control_file(inode);
	if (!(file->f_mode & FMODE_READ))
		return nonseekable_open(inode, file);
	if (!sct_may_read())
		return -EPERM;
	view = view_take();
	if (IS_ERR(view))
		return PTR_ERR(view);
	err = seq_open(file, &view_ops);
	if (err)
		view_free(view);
	else
		((struct seq_file *)file->private_data)->private = view;
	return err;
}

static int view_release(struct inode *inode, struct file *file)
{
	if (!(file->f_mode & FMODE_READ))
		return 0;
	view_free(((struct seq_file *)file->private_data)->private);
	return seq_release(inode, file);
}

static ssize_t view_write(struct file *file, const char __user *buf,
			  size_t count, loff_t *pos)
{
	return sct_command_write(buf, count);
}

static const struct proc_ops proc_ops = {
	.proc_open	= view_open,
	.proc_read_iter	= seq_read_iter,
	.proc_write	= view_write,
	.proc_lseek	= seq_lseek,
	.proc_release	= view_release,
};

static int stats_open(struct inode *inode, struct file *file)
{
	return sct_may_read() ? single_open(file, sct_stats_show, NULL) : -EPERM;
}

static const struct proc_ops stats_ops = {
	.proc_open	= stats_open,
	.proc_read_iter	= seq_read_iter,
	.proc_lseek	= seq_lseek,
	.proc_release	= single_release,
};

/* Root, and where there is a group, that too, for reading. */
static int create_file(const char *name, umode_t mode, const struct proc_ops *ops)
{
	kgid_t group = sct_group();
	struct proc_dir_entry *entry;

	if (gid_valid(group))
		mode |= 0040;
	entry = proc_create(name, mode, NULL, ops);
	if (!entry)
		return -ENOMEM;
	if (gid_valid(group))
		proc_set_user(entry, GLOBAL_ROOT_UID, group);
	return 0;
}

/**
 * sct_proc_init() - create the files
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sct_proc_init(void)
{
	int err = create_file(FILE_NAME, 0600, &proc_ops);

	if (err)
		return err;
	err = create_file(STATS_NAME, 0400, &stats_ops);
	if (err)
		remove_proc_entry(FILE_NAME, NULL);
	return err;
}

/**
 * sct_proc_exit() - remove the files
 *
 * Waits for the calls in flight and releases what open files hold.
 *
 * Context: Process context, may sleep.
 */
void sct_proc_exit(void)
{
	remove_proc_entry(STATS_NAME, NULL);
	remove_proc_entry(FILE_NAME, NULL);
}
