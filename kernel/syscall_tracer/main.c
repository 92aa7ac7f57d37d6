// SPDX-License-Identifier: GPL-2.0-only
/*
 * syscall_tracer: a log of system calls, with filters, in /proc.
 *
 * docs/abi.md is its contract.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "tracer.h"

#define ENTRIES_MIN	16
#define ENTRIES_MAX	1048576

/* Held for one whole transaction; see DOC: locking. */
DEFINE_MUTEX(sct_lock);

static unsigned int log_entries = 1024;
module_param(log_entries, uint, 0444);
MODULE_PARM_DESC(log_entries, "records kept for each CPU, 16 to 1048576");

static unsigned int proc_gid = -1;
module_param(proc_gid, uint, 0444);
MODULE_PARM_DESC(proc_gid, "group that may read /proc/syscall_tracer");

static int __init tracer_init(void)
{
	int err;

	if (log_entries < ENTRIES_MIN || log_entries > ENTRIES_MAX) {
		pr_err("log_entries must be %d to %d\n", ENTRIES_MIN,
		       ENTRIES_MAX);
		return -EINVAL;
	}
	err = sct_rings_init(log_entries);
	if (err)
		return err;
	err = sct_filters_init();
	if (err)
		goto free_rings;
	sct_calls_init();
	err = sct_proc_init(proc_gid);
	if (err)
		goto remove_probes;
	pr_info("loaded\n");
	return 0;

remove_probes:
	sct_calls_exit();
	sct_filters_exit();
free_rings:
	sct_rings_exit();
	return err;
}

static void __exit tracer_exit(void)
{
	sct_proc_exit();
	sct_calls_exit();
	sct_filters_exit();
	sct_rings_exit();
	pr_info("unloaded\n");
}

module_init(tracer_init);
module_exit(tracer_exit);

MODULE_AUTHOR("kmodlab");
MODULE_DESCRIPTION("Log of system calls with filters, in /proc/syscall_tracer");
MODULE_VERSION("1.0.0");
MODULE_LICENSE("GPL");
