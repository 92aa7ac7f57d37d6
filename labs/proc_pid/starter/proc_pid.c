// SPDX-License-Identifier: GPL-2.0-only
/* Write a PID to /proc/pid, and read command, PID and state of that task. */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int show(struct seq_file *m, void *v)
{
	seq_puts(m, ""); /* your work begins here */
	return 0;
}

static int open(struct inode *inode, struct file *file)
{
	return single_open(file, show, NULL);
}

static ssize_t write(struct file *file, const char __user *buffer, size_t count, loff_t *pos)
{
	return count;
}

static const struct proc_ops ops = {
	.proc_open = open,
	.proc_read = seq_read,
	.proc_write = write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int __init begin(void)
{
	return proc_create("pid", 0644, NULL, &ops) ? 0 : -ENOMEM;
}

static void __exit end(void)
{
	remove_proc_entry("pid", NULL);
}

module_init(begin);
module_exit(end);
MODULE_DESCRIPTION("Command, PID and state of the task whose PID was written to /proc/pid");
MODULE_LICENSE("GPL");
