// SPDX-License-Identifier: GPL-2.0-only
/*
 * syscall_tracer: a log of system calls, with filters, in /proc.
 *
 * docs/abi.md is its contract.
 */
#include <linux/module.h>

#include "hook.h"

static int __init tracer_init(void)
{
	int err = sct_params_check() ?: sct_hooks_init();

	if (err)
		return err;
	err = sct_rings_init(sct_log_entries);
	if (err)
		return err;
	err = sct_filters_init();
	if (err)
		goto free_rings;
	sct_trace_init();
	err = sct_proc_init();
	if (err)
		goto remove_probes;
	err = sct_netlink_init();
	if (err)
		goto remove_file;
	sct_promise_init();
	sct_params_taken();
	pr_info(KBUILD_MODNAME ": loaded\n");
	return 0;

remove_file:
	sct_proc_exit();
remove_probes:
	sct_trace_exit();
	sct_filters_exit();
free_rings:
	sct_rings_exit();
	return err;
}

static void __exit tracer_exit(void)
{
	sct_promise_exit();
	sct_netlink_exit();
	sct_proc_exit();
	sct_trace_exit();
	sct_filters_exit();
	sct_rings_exit();
	pr_info(KBUILD_MODNAME ": unloaded\n");
}

module_init(tracer_init);
module_exit(tracer_exit);

MODULE_AUTHOR("kmodlab");
MODULE_DESCRIPTION("Log of system calls with filters, in /proc/syscall_tracer");
MODULE_VERSION("1.0.0");
MODULE_LICENSE("GPL");
