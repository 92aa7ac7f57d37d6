// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int tracer_show(struct seq_file *m, void *v)
{
	seq_puts(m, "System Call Tracer Log\n======================\n");
	/* Show the records, the counters and the filters here. */
	return 0;
}

static int tracer_open(struct inode *inode, struct file *file)
{
	return single_open(file, tracer_show, NULL);
}

static ssize_t tracer_write(struct file *file, const char __user *text, size_t length, loff_t *offset)
{
	/* Take commands here: NAME block, NAME allow, NAME delete, clear, trace NAME, untrace NAME. */
	return -EINVAL;
}

static const struct proc_ops tracer_ops = {
	.proc_open = tracer_open,
	.proc_read = seq_read,
	.proc_write = tracer_write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int __init tracer_init(void)
{
	return proc_create("syscall_tracer", 0600, NULL, &tracer_ops) ? 0 : -ENOMEM;
}

static void __exit tracer_exit(void)
{
	remove_proc_entry("syscall_tracer", NULL);
}

module_init(tracer_init);
module_exit(tracer_exit);
MODULE_DESCRIPTION("Records system calls, and shows them in /proc");
MODULE_LICENSE("GPL");
