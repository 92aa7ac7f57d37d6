// SPDX-License-Identifier: GPL-2.0-only
/*
 * syscall_tracer: a log of system calls, with filters, in /proc.
 *
 * docs/abi.md is its contract.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "hook.h"

#define ENTRIES_MIN	16
#define ENTRIES_MAX	1048576

/* Held for one whole transaction; see DOC: locking. */
DEFINE_MUTEX(sct_lock);

static unsigned int log_entries = 1024;
module_param(log_entries, uint, 0444);
MODULE_PARM_DESC(log_entries, "records kept for each CPU, 16 to 1048576");

#define DATA_MIN	16

unsigned int sct_data_bytes __read_mostly = 128;
module_param_named(data_bytes, sct_data_bytes, uint, 0444);
MODULE_PARM_DESC(data_bytes, "bytes kept of the paths and addresses of a call, 16 to 3968");

static unsigned int proc_gid = -1;
module_param(proc_gid, uint, 0444);
MODULE_PARM_DESC(proc_gid, "group that may read the files under /proc");

/**
 * sct_group() - the group that may read, whatever it is capable of
 *
 * Context: Any.
 * Return: The group; an invalid one if there is none.
 */
kgid_t sct_group(void)
{
	return make_kgid(&init_user_ns, proc_gid);
}

/**
 * sct_may_read() - whether this task may see everybody's calls
 *
 * Being root is not enough: in a container it may be root without a capability.
 *
 * Context: Process context.
 * Return: True if so.
 */
bool sct_may_read(void)
{
	kgid_t group = sct_group();

	return perfmon_capable() || (gid_valid(group) && in_group_p(group));
}

/* Set once, when the parameters that insmod was given have been taken. */
static bool loaded;

/**
 * sct_may_set_parameter() - whether a parameter may be set just now
 *
 * The files of the parameters are there a little longer than the module works,
 * and at load it is not the user who writes.
 *
 * Context: Process context.
 * Return: 0 or -EPERM.
 */
int sct_may_set_parameter(void)
{
	return loaded && !capable(CAP_SYS_ADMIN) ? -EPERM : 0;
}

static int check_parameters(void)
{
	if (log_entries < ENTRIES_MIN || log_entries > ENTRIES_MAX) {
		pr_err("log_entries must be %d to %d\n", ENTRIES_MIN,
		       ENTRIES_MAX);
		return -EINVAL;
	}
	if (sct_data_bytes < DATA_MIN || sct_data_bytes > SCT_DATA_MAX) {
		pr_err("data_bytes must be %d to %d\n", DATA_MIN, SCT_DATA_MAX);
		return -EINVAL;
	}
	sct_data_bytes = ALIGN(sct_data_bytes, 8);
	/* The kernel makes no larger allocation, and warns of who asks for one. */
	if (roundup_pow_of_two(log_entries) >
	    INT_MAX / (sizeof(struct sct_record) + sct_data_bytes)) {
		pr_err("log_entries and data_bytes together take more than 2 GiB for each CPU\n");
		return -EINVAL;
	}
	return sct_hooks_init();
}

static int __init tracer_init(void)
{
	int err = check_parameters();

	if (err)
		return err;
	err = sct_rings_init(log_entries);
	if (err)
		return err;
	err = sct_filters_init();
	if (err)
		goto free_rings;
	sct_calls_init();
	err = sct_proc_init();
	if (err)
		goto remove_probes;
	err = sct_netlink_init();
	if (err)
		goto remove_file;
	sct_trace_init();
	loaded = true;
	pr_info("loaded\n");
	return 0;

remove_file:
	sct_proc_exit();
remove_probes:
	sct_calls_exit();
	sct_filters_exit();
free_rings:
	sct_rings_exit();
	return err;
}

static void __exit tracer_exit(void)
{
	sct_trace_exit();
	sct_netlink_exit();
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
