// SPDX-License-Identifier: GPL-2.0-only
/* Seconds since the module was loaded in /proc/seconds */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int show(struct seq_file *m, void *v)
{
	seq_puts(m, "0\n"); /* your work begins here */
	return 0;
}

static int __init begin(void)
{
	return proc_create_single("seconds", 0444, NULL, show) ? 0 : -ENOMEM;
}

static void __exit end(void)
{
	remove_proc_entry("seconds", NULL);
}

module_init(begin);
module_exit(end);
MODULE_DESCRIPTION("Seconds since the module was loaded in /proc/seconds");
MODULE_LICENSE("GPL");
