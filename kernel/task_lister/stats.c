// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/task_stats: sums over all processes, in one pass.
 */
#include <linux/err.h>
#include <linux/sched/task.h>

#include "lister.h"

/**
 * struct stats - the sums
 * @states: processes in each state
 * @total: processes
 * @vm: pages of address space
 * @rss: pages in memory
 */
struct stats {
	unsigned int states[TL_UNKNOWN + 1];
	unsigned int total;
	u64 vm;
	u64 rss;
};

static void count(struct stats *stats, struct task_struct *task)
{
	unsigned long vm, rss;

	tl_task_memory(task, &vm, &rss);
	stats->states[tl_task_state(task)]++;
	stats->total++;
	stats->vm += vm;
	stats->rss += rss;
}

static int count_all(struct stats *stats, struct pid_namespace *ns)
{
	struct task_struct *task;
	pid_t pid;

	for (pid = 1; (task = tl_next_process(ns, &pid)); pid++) {
		if (IS_ERR(task))
			return PTR_ERR(task);
		count(stats, task);
		put_task_struct(task);
	}
	return 0;
}

static int stats_show(struct seq_file *m, void *v)
{
	struct stats stats = {};
	const unsigned int *n = stats.states;
	unsigned int stopped;
	int err;

	err = count_all(&stats, m->private);
	if (err)
		return err;
	stopped = n[TL_STOPPED] + n[TL_TRACED];

	seq_puts(m, TL_TITLE("TASK STATISTICS") "\n\n");
	seq_puts(m, "Process States:\n");
	seq_printf(m, "  Running:     %u\n", n[TL_RUNNING]);
	seq_printf(m, "  Sleeping:    %u\n", n[TL_SLEEPING]);
	seq_printf(m, "  Stopped:     %u\n", stopped);
	seq_printf(m, "  Zombie:      %u\n", n[TL_ZOMBIE]);
	seq_printf(m, "  Other:       %u\n",
		   stats.total - n[TL_RUNNING] - n[TL_SLEEPING] - stopped -
		   n[TL_ZOMBIE]);
	seq_printf(m, "  Total:       %u\n\n", stats.total);
	seq_puts(m, "Memory Usage:\n");
	seq_printf(m, "  Total Virtual Memory: %llu MB\n",
		   stats.vm >> (20 - PAGE_SHIFT));
	seq_printf(m, "  Total RSS:            %llu MB\n\n",
		   stats.rss >> (20 - PAGE_SHIFT));
	return 0;
}

static int stats_open(struct inode *inode, struct file *file)
{
	int err;

	err = tl_may_open(inode);
	if (err)
		return err;
	return single_open(file, stats_show, proc_pid_ns(inode->i_sb));
}

const struct proc_ops tl_stats_ops = {
	.proc_open = stats_open,
	.proc_read_iter = seq_read_iter,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};
