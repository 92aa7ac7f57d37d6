// SPDX-License-Identifier: GPL-2.0
/* Lists all processes in /proc: task_lister, task_detail, task_stats. */
#include <linux/cred.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>

static const char *state_to_string(struct task_struct *task)
{
	unsigned int state = READ_ONCE(task->__state);

	if (task->exit_state & EXIT_ZOMBIE)
		return "ZOMBIE";
	if (task->exit_state & EXIT_DEAD)
		return "DEAD";
	if (state == TASK_RUNNING)
		return "RUNNING";
	if (state & TASK_INTERRUPTIBLE)
		return "SLEEPING";
	if (state & __TASK_STOPPED)
		return "STOPPED";
	if (state & __TASK_TRACED)
		return "TRACED";
	if (state & TASK_UNINTERRUPTIBLE)
		return "DISK_SLEEP";
	return "UNKNOWN";
}

static void get_memory(struct task_struct *task, unsigned long *vm, unsigned long *rss)
{
	*vm = 0;
	*rss = 0;
	task_lock(task);
	if (task->mm) {
		*vm = task->mm->total_vm << (PAGE_SHIFT - 10);
		*rss = get_mm_rss(task->mm) << (PAGE_SHIFT - 10);
	}
	task_unlock(task);
}

static int lister_show(struct seq_file *m, void *v)
{
	struct task_struct *task;
	unsigned long vm, rss;
	int count = 0;

	seq_puts(m, "Task Lister\n\n");
	seq_printf(m, "%-6s %-6s %-16s %-12s %10s %10s %7s %6s %6s\n", "PID", "PPID", "COMMAND", "STATE", "VM(KB)",
		   "RSS(KB)", "THREADS", "UID", "GID");
	seq_puts(m, "--------------------------------------------------------------------------------\n");
	rcu_read_lock();
	for_each_process(task) {
		get_memory(task, &vm, &rss);
		seq_printf(m, "%-6d %-6d %-16s %-12s %10lu %10lu %7d %6u %6u\n", task->pid,
			   task_tgid_nr(rcu_dereference(task->real_parent)), task->comm, state_to_string(task), vm, rss,
			   get_nr_threads(task), from_kuid(&init_user_ns, task_uid(task)),
			   from_kgid(&init_user_ns, __task_cred(task)->gid));
		count++;
	}
	rcu_read_unlock();
	seq_printf(m, "\nTotal processes listed: %d\n", count);
	return 0;
}

static int detail_show(struct seq_file *m, void *v)
{
	struct task_struct *task;
	unsigned long vm, rss;

	rcu_read_lock();
	for_each_process(task) {
		get_memory(task, &vm, &rss);
		seq_printf(m, "PID: %d\n", task->pid);
		seq_printf(m, "  Command: %s\n", task->comm);
		seq_printf(m, "  State: %s\n", state_to_string(task));
		seq_printf(m, "  Parent PID: %d\n", task_tgid_nr(rcu_dereference(task->real_parent)));
		seq_printf(m, "  UID: %u\n", from_kuid(&init_user_ns, task_uid(task)));
		seq_printf(m, "  GID: %u\n", from_kgid(&init_user_ns, __task_cred(task)->gid));
		seq_printf(m, "  VM: %lu KB\n", vm);
		seq_printf(m, "  RSS: %lu KB\n", rss);
		seq_printf(m, "  Threads: %d\n", get_nr_threads(task));
		seq_printf(m, "  Priority: %d\n", task->prio);
		seq_printf(m, "  Nice: %d\n", task_nice(task));
		seq_printf(m, "  CPU: %d\n\n", task_cpu(task));
	}
	rcu_read_unlock();
	return 0;
}

static int stats_show(struct seq_file *m, void *v)
{
	int running = 0, sleeping = 0, stopped = 0, zombie = 0, total = 0;
	unsigned long vm, rss, total_vm = 0, total_rss = 0;
	struct task_struct *task;

	rcu_read_lock();
	for_each_process(task) {
		const char *state = state_to_string(task);

		get_memory(task, &vm, &rss);
		total_vm += vm;
		total_rss += rss;
		total++;
		if (state[0] == 'R')
			running++;
		else if (state[0] == 'Z')
			zombie++;
		else if (state[0] == 'T' || (state[0] == 'S' && state[1] == 'T'))
			stopped++;
		else if (state[0] == 'S')
			sleeping++;
	}
	rcu_read_unlock();
	seq_puts(m, "Statistics\n");
	seq_printf(m, "Running: %d\nSleeping: %d\nStopped: %d\nZombie: %d\nTotal: %d\n", running, sleeping, stopped, zombie,
		   total);
	seq_printf(m, "Total Virtual Memory: %lu MB\nTotal RSS: %lu MB\n", total_vm / 1024, total_rss / 1024);
	return 0;
}

static int lister_open(struct inode *inode, struct file *file)
{
	return single_open(file, lister_show, NULL);
}

static int detail_open(struct inode *inode, struct file *file)
{
	return single_open(file, detail_show, NULL);
}

static int stats_open(struct inode *inode, struct file *file)
{
	return single_open(file, stats_show, NULL);
}

static const struct proc_ops lister_ops = {
	.proc_open = lister_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static const struct proc_ops detail_ops = {
	.proc_open = detail_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static const struct proc_ops stats_ops = {
	.proc_open = stats_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int __init task_lister_init(void)
{
	if (!proc_create("task_lister", 0444, NULL, &lister_ops))
		return -ENOMEM;
	proc_create("task_detail", 0444, NULL, &detail_ops);
	proc_create("task_stats", 0444, NULL, &stats_ops);
	return 0;
}

static void __exit task_lister_exit(void)
{
	remove_proc_entry("task_stats", NULL);
	remove_proc_entry("task_detail", NULL);
	remove_proc_entry("task_lister", NULL);
}

module_init(task_lister_init);
module_exit(task_lister_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Task lister");
