// SPDX-License-Identifier: GPL-2.0-only
// A read never says that the file has ended.
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/uaccess.h>

static ssize_t list_read(struct file *file, char __user *buffer, size_t count, loff_t *pos)
{
	static const char line[] = "1 0 systemd SLEEPING 0 0 1 0 0\n";
	size_t length = min(count, sizeof(line) - 1);

	return copy_to_user(buffer, line, length) ? -EFAULT : length;
}

static const struct proc_ops list_ops = {
	.proc_read = list_read,
};

static int __init lister_init(void)
{
	return proc_create("task_lister", 0444, NULL, &list_ops) ? 0 : -ENOMEM;
}

static void __exit lister_exit(void)
{
	remove_proc_entry("task_lister", NULL);
}

module_init(lister_init);
module_exit(lister_exit);
MODULE_DESCRIPTION("fixture of the grader's tests");
MODULE_LICENSE("GPL");
