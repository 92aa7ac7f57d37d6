// SPDX-License-Identifier: GPL-2.0-only
/* All tasks in the kernel log: one after the other, and depth first from init_task. */
#include <linux/module.h>
#include <linux/sched/signal.h>

static int __init begin(void)
{
	pr_info("list_tasks: loaded\n"); /* your work begins here */
	return 0;
}

static void __exit end(void)
{
}

module_init(begin);
module_exit(end);
MODULE_DESCRIPTION("All tasks in the kernel log");
MODULE_LICENSE("GPL");
