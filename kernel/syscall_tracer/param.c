// SPDX-License-Identifier: GPL-2.0-only
/*
 * Parameters that are given at load, who may do what, and the lock.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "tracer.h"

#define ENTRIES_MIN	16
#define ENTRIES_MAX	1048576

/* Held for one whole transaction; see DOC: locking. */
DEFINE_MUTEX(sct_lock);

unsigned int sct_log_entries = 1024;
module_param_named(log_entries, sct_log_entries, uint, 0444);
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
static bool taken;

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
	return taken && !capable(CAP_SYS_ADMIN) ? -EPERM : 0;
}

/**
 * sct_params_taken() - from now on it is a user who writes
 *
 * Context: Process context.
 */
void sct_params_taken(void)
{
	taken = true;
}

/**
 * sct_params_check() - look at what insmod was given
 *
 * Context: Process context.
 * Return: 0, or -EINVAL, and the kernel's log says why.
 */
int sct_params_check(void)
{
	if (sct_log_entries < ENTRIES_MIN || sct_log_entries > ENTRIES_MAX) {
		pr_err(KBUILD_MODNAME ": log_entries must be %d to %d\n", ENTRIES_MIN,
		       ENTRIES_MAX);
		return -EINVAL;
	}
	if (sct_data_bytes < DATA_MIN || sct_data_bytes > SCT_DATA_MAX) {
		pr_err(KBUILD_MODNAME ": data_bytes must be %d to %d\n", DATA_MIN, SCT_DATA_MAX);
		return -EINVAL;
	}
	sct_data_bytes = ALIGN(sct_data_bytes, 8);
	/* The kernel makes no larger allocation, and warns of who asks for one. */
	if (roundup_pow_of_two(sct_log_entries) >
	    INT_MAX / (sizeof(struct sct_record) + sct_data_bytes)) {
		pr_err(KBUILD_MODNAME ": log_entries and data_bytes together take more than 2 GiB for each CPU\n");
		return -EINVAL;
	}
	return 0;
}
