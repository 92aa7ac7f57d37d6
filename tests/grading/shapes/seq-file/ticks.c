#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include "time.h"

/* One module with both files, of two sources. */
static int show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%llu", get_jiffies_64());
	return 0;
}

static int open(struct inode *inode, struct file *file)
{
	return single_open(file, show, NULL);
}

static const struct proc_ops operations = {
	.proc_open = open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int __init enter(void)
{
	if (!proc_create("jiffies", 0, NULL, &operations))
		return -ENOMEM;
	return time_enter();
}

static void __exit leave(void)
{
	time_leave();
	remove_proc_entry("jiffies", NULL);
}

module_init(enter);
module_exit(leave);
MODULE_LICENSE("GPL");
