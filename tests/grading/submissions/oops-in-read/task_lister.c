// SPDX-License-Identifier: GPL-2.0-only
// It loads, and follows a null pointer when its file is read.
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int list_show(struct seq_file *m, void *v)
{
	struct seq_file *other = NULL;

	seq_printf(m, "%zu\n", READ_ONCE(other->count));
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
