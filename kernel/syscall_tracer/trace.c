// SPDX-License-Identifier: GPL-2.0-only
/*
 * The calls that are traced.
 */
#include <linux/bitmap.h>
#include <linux/string.h>

#include "point.h"
#include "probe.h"
#include "returns.h"

/* The families that are traced from the start. */
static const char * const defaults[] = {
	"open", "read", "write", "close", "unlink",
};

/* Those of them that this architecture does not have. */
static const char * const absent[] = {
#ifdef CONFIG_ARM64
	"open", "creat", "unlink",
#endif
	NULL
};

/* Guarded by sct_lock: the calls that are hooked, between transactions. */
static DECLARE_BITMAP(traced, SCT_CALLS_MAX);

/* Leaves these calls hooked, and no others. */
static void unhook_but(const unsigned long *keep)
{
	struct sct_hook **hooks;
	unsigned int n = sct_points_collect(NULL, true, &hooks);

	sct_probes_found(hooks, n);
	n = sct_points_collect(keep, false, &hooks);
	sct_hooks_disarm(hooks, n);
}

/**
 * sct_traced() - copy the set of traced calls
 * @copy: gets the bits of their ids
 *
 * Context: Process context, sct_lock held.
 */
void sct_traced(unsigned long *copy)
{
	lockdep_assert_held(&sct_lock);
	bitmap_copy(copy, traced, SCT_CALLS_MAX);
}

/**
 * sct_trace_arm() - start to trace calls
 * @wanted: their ids; those that are traced already may be among them
 *
 * To be followed by sct_trace_commit() or, on an error, sct_trace_rollback().
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0, or the first error of the hooks.
 */
int sct_trace_arm(const unsigned long *wanted)
{
	struct sct_hook **hooks;
	unsigned int n = sct_points_collect(NULL, true, &hooks);

	sct_probes_found(hooks, n);
	n = sct_points_collect(wanted, true, &hooks);
	return sct_hooks_arm(hooks, n);
}

/**
 * sct_trace_commit() - trace these calls and no others
 * @wanted: their ids, armed
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_trace_commit(const unsigned long *wanted)
{
	unhook_but(wanted);
	bitmap_copy(traced, wanted, SCT_CALLS_MAX);
}

/**
 * sct_trace_rollback() - trace the calls that were traced before
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_trace_rollback(void)
{
	unhook_but(traced);
}

/**
 * sct_trace_rehook() - hook the traced calls as the parameters want it now
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0; else the first error of the hooks, and nothing has changed.
 */
int sct_trace_rehook(void)
{
	struct sct_hook **hooks;
	unsigned int n = sct_points_collect(traced, true, &hooks);

	return sct_hooks_switch(hooks, n);
}

/**
 * sct_trace_live() - whether calls are hooked, and such hooks are called
 * @wanted: their ids
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: True if so.
 */
bool sct_trace_live(const unsigned long *wanted)
{
	struct sct_hook **hooks;
	unsigned int n = sct_points_collect(wanted, true, &hooks);

	return sct_hooks_live(hooks, n);
}

/**
 * sct_traced_missed() - count the calls that the kernel kept from the hooks
 *
 * Context: Process context, sct_lock held.
 * Return: The sum of nmissed over all probes there were since load.
 */
unsigned long sct_traced_missed(void)
{
	unsigned long sum = 0;
	unsigned int id;

	lockdep_assert_held(&sct_lock);
	for (id = 0; id < sct_calls_known(); id++)
		sum += sct_points_missed(id);
	return sum;
}

/**
 * sct_traced_returns() - count the calls that are on their way
 * @stats: gets the counts
 *
 * Context: Process context, sct_lock held.
 */
void sct_traced_returns(struct sct_return_stats *stats)
{
	struct sct_hook **hooks;
	unsigned int n = sct_points_collect(NULL, true, &hooks);

	sct_returns_stats(hooks, n, stats);
}

static bool is_absent(const char *name)
{
	const char * const *p;

	for (p = absent; *p; p++)
		if (!strcmp(*p, name))
			return true;
	return false;
}

static void want_default(const char *name, unsigned long *wanted)
{
	int id = sct_points_get(name);

	if (id >= 0)
		__set_bit(id, wanted);
	else if (id != -ENOENT || !is_absent(name))
		pr_warn(KBUILD_MODNAME ": cannot trace %s: error %d\n",
			name, id);
}

/* One by one, to name the one that cannot be traced. */
static void arm_defaults(unsigned long *wanted)
{
	struct sct_hook **hooks;
	unsigned int id, n;
	int err;

	for_each_set_bit(id, wanted, SCT_CALLS_MAX) {
		DECLARE_BITMAP(one, SCT_CALLS_MAX);

		bitmap_zero(one, SCT_CALLS_MAX);
		__set_bit(id, one);
		n = sct_points_collect(one, true, &hooks);
		err = sct_hooks_arm(hooks, n);
		if (!err)
			continue;
		pr_warn(KBUILD_MODNAME ": cannot trace %s: error %d\n",
			sct_call_name(id), err);
		__clear_bit(id, wanted);
	}
}

/**
 * sct_trace_init() - start to trace the default calls
 *
 * One that cannot be traced is named in the kernel's log.
 *
 * Context: Process context, may sleep.
 */
void sct_trace_init(void)
{
	DECLARE_BITMAP(wanted, SCT_CALLS_MAX);
	const char * const *member;
	size_t i;

	bitmap_zero(wanted, SCT_CALLS_MAX);
	mutex_lock(&sct_lock);
	for (i = 0; i < ARRAY_SIZE(defaults); i++)
		for (member = sct_family_members(defaults[i]); *member; member++)
			want_default(*member, wanted);
	if (sct_trace_arm(wanted))
		arm_defaults(wanted);
	sct_trace_commit(wanted);
	mutex_unlock(&sct_lock);
}

/**
 * sct_trace_exit() - remove all probes
 *
 * Context: Process context, may sleep; no reader and no writer is left.
 */
void sct_trace_exit(void)
{
	mutex_lock(&sct_lock);
	bitmap_zero(traced, SCT_CALLS_MAX);
	unhook_but(traced);
	sct_hooks_exit();
	sct_points_exit();
	mutex_unlock(&sct_lock);
}
