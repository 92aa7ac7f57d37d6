// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int list_show(struct seq_file *m, void *v)
{
	seq_puts(m, "==================== LINUX KERNEL TASK LISTER ====================\n");
	/* List the processes here. One buffer will not do: make it an iterator (see seq_open()). */
	return 0;
}

static int __init lister_init(void)
{
	if (!proc_create_single("task_lister", 0444, NULL, list_show))
		return -ENOMEM;
	/* Three more files: task_detail, task_stats, task_tree. */
	return 0;
}

static void __exit lister_exit(void)
{
	remove_proc_entry("task_lister", NULL);
}

module_init(lister_init);
module_exit(lister_exit);
MODULE_DESCRIPTION("The processes of the machine, in /proc");
MODULE_LICENSE("GPL");
