// SPDX-License-Identifier: GPL-2.0-only
// Its Makefile does not behave; the module is an empty list.
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int list_show(struct seq_file *m, void *v)
{
	seq_puts(m, "PID PPID COMMAND STATE VM(KB) RSS(KB) THREADS UID GID\n");
	return 0;
}

static int __init lister_init(void)
{
	return proc_create_single("task_lister", 0444, NULL, list_show) ? 0 : -ENOMEM;
}

static void __exit lister_exit(void)
{
	remove_proc_entry("task_lister", NULL);
}

module_init(lister_init);
module_exit(lister_exit);
MODULE_DESCRIPTION("fixture of the grader's tests");
MODULE_LICENSE("GPL");
