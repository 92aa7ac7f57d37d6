// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/syscall_tracer: the log and the filters to read, commands to write.
 */
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uidgid.h>

#include "tracer.h"

#define FILE_NAME "syscall_tracer"

/**
 * struct page_view - what one open file shows
 * @log: the log as it was at open
 * @filters: the filters as they were at open
 * @missed: the calls that the probes had missed by then
 * @returns: the calls that were on their way
 * @enforcing: the mode
 *
 * The file has a header, a row for each record, and a tail: positions 0,
 * 1 to @log->count, and @log->count + 1.
 */
struct page_view {
	struct sct_log *log;
	struct sct_filters *filters;
	unsigned long missed;
	struct sct_return_stats returns;
	bool enforcing;
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

static void show_law(struct seq_file *m, const char *title,
		     const struct sct_ring_stats *stats)
{
	seq_printf(m, "%s: issued %llu logged %llu overwritten %llu dropped %llu\n",
		   title, stats->issued, stats->logged, stats->overwritten,
		   stats->dropped);
}

static void show_cpus(struct seq_file *m, const struct sct_log *log)
{
	char title[16];
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		if (!cpu_online(cpu) && !log->stats[cpu].issued)
			continue;
		snprintf(title, sizeof(title), "CPU %u", cpu);
		show_law(m, title, &log->stats[cpu]);
	}
}

static void add_up(const struct sct_log *log, struct sct_ring_stats *sum)
{
	unsigned int cpu;

	memset(sum, 0, sizeof(*sum));
	for_each_possible_cpu(cpu) {
		sum->issued += log->stats[cpu].issued;
		sum->overwritten += log->stats[cpu].overwritten;
		sum->dropped += log->stats[cpu].dropped;
	}
}

static void show_tail(struct seq_file *m, const struct page_view *view)
{
	struct sct_ring_stats sum;

	add_up(view->log, &sum);
	seq_printf(m, "\nTotal entries: %zu\n", view->log->count);
	seq_printf(m, "Overwritten: %llu\n", sum.overwritten);
	seq_printf(m, "Dropped: %llu\n", sum.dropped);
	seq_printf(m, "Missed: %lu\n", view->missed);
	seq_printf(m, "Issued: %llu\n", sum.issued);
	seq_printf(m, "In flight: %llu\n", view->returns.in_flight);
	seq_printf(m, "Orphaned: %llu\n", view->returns.orphaned);
	seq_printf(m, "Returns missed: %llu\n", view->returns.missed);
	seq_printf(m, "Mode: %s\n", view->enforcing ? "enforcing" : "permissive");
	show_cpus(m, view->log);
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
	view->missed = sct_calls_missed();
	sct_returns_stats(&view->returns);
	view->enforcing = sct_enforcing();
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

/**
 * sct_proc_init() - create the file
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sct_proc_init(void)
{
	kgid_t group = sct_group();
	struct proc_dir_entry *entry;

	entry = proc_create(FILE_NAME, gid_valid(group) ? 0640 : 0600, NULL,
			    &proc_ops);
	if (!entry)
		return -ENOMEM;
	if (gid_valid(group))
		proc_set_user(entry, GLOBAL_ROOT_UID, group);
	return 0;
}

/**
 * sct_proc_exit() - remove the file
 *
 * Waits for the calls in flight and releases what open files hold.
 *
 * Context: Process context, may sleep.
 */
void sct_proc_exit(void)
{
	remove_proc_entry(FILE_NAME, NULL);
}
