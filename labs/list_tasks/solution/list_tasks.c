// SPDX-License-Identifier: GPL-2.0-only
/* All tasks in the kernel log: one after the other, and depth first from init_task. */
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

static void show(const char *how, struct task_struct *task)
{
	pr_info("list_tasks: %s: pid %d state %u command %s\n", how, task->pid,
		READ_ONCE(task->__state), task->comm);
}

/* Depth first without recursion, which the kernel's small stack would not stand: down, else on, else up and on. */
static struct task_struct *next_in_tree(struct task_struct *task)
{
	struct task_struct *next;

	next = list_first_or_null_rcu(&task->children, struct task_struct, sibling);
	while (!next && task != &init_task) {
		struct task_struct *parent = rcu_dereference(task->real_parent);

		if (!list_is_last(&task->sibling, &parent->children))
			next = list_entry_rcu(task->sibling.next, struct task_struct, sibling);
		task = parent;
	}
	return next;
}

static int __init begin(void)
{
	struct task_struct *task;

	rcu_read_lock();
	for_each_process(task)
		show("linear", task);
	for (task = &init_task; task; task = next_in_tree(task))
		show("tree", task);
	rcu_read_unlock();
	return 0;
}

static void __exit end(void)
{
}

module_init(begin);
module_exit(end);
MODULE_DESCRIPTION("All tasks in the kernel log");
MODULE_LICENSE("GPL");
