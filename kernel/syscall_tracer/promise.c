// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is promised of the traced calls: how they are recorded, and that a blocked
 * one does not run. What cannot be kept is refused.
 */
#include <linux/bitmap.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "hook.h"

#define LOOK_PERIOD	HZ

static void keep_looking(struct work_struct *work);

static DECLARE_DELAYED_WORK(look_work, keep_looking);

/* Guarded by sct_lock. Before it is loaded there are no filters and no hooks. */
static bool loaded;
static bool returns;

static const struct sct_filters *filters_in_force(void)
{
	return rcu_dereference_protected(sct_filters_active,
					 lockdep_is_held(&sct_lock));
}

static void collect_blocked(const struct sct_filters *filters,
			    unsigned long *blocked)
{
	unsigned int i;

	bitmap_zero(blocked, SCT_CALLS_MAX);
	for (i = 0; i < filters->count; i++)
		if (filters->filter[i].status == SCT_BLOCKED)
			bitmap_or(blocked, blocked, filters->filter[i].calls,
				  SCT_CALLS_MAX);
}

/* Whether anything is blocked and does not run. */
static bool is_enforced(void)
{
	DECLARE_BITMAP(blocked, SCT_CALLS_MAX);

	collect_blocked(filters_in_force(), blocked);
	return sct_enforcing() && !bitmap_empty(blocked, SCT_CALLS_MAX);
}

/**
 * sct_promise_hinders() - what keeps blocked calls from not running
 * @filters: that say what is blocked
 * @traced: the calls that are traced
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: NULL if nothing does; else a reason, for the user.
 */
const char *sct_promise_hinders(const struct sct_filters *filters,
				const unsigned long *traced)
{
	DECLARE_BITMAP(blocked, SCT_CALLS_MAX);

	lockdep_assert_held(&sct_lock);
	collect_blocked(filters, blocked);
	if (!bitmap_subset(blocked, traced, SCT_CALLS_MAX))
		return "a call that is blocked is not traced";
	if (bitmap_empty(blocked, SCT_CALLS_MAX) || sct_trace_live(blocked))
		return NULL;
	return "hooks are switched off in this kernel";
}

static const char *hinders_now(void)
{
	DECLARE_BITMAP(traced, SCT_CALLS_MAX);

	sct_traced(traced);
	return sct_promise_hinders(filters_in_force(), traced);
}

/* What was switched off behind our back is seen a second later at the latest. */
static void keep_looking(struct work_struct *work)
{
	const char *reason;

	mutex_lock(&sct_lock);
	reason = sct_enforcing() ? hinders_now() : NULL;
	if (reason) {
		pr_err(KBUILD_MODNAME ": blocked calls run: %s\n", reason);
		sct_mode_set(false);
	}
	if (loaded && sct_enforcing())
		schedule_delayed_work(&look_work, LOOK_PERIOD);
	mutex_unlock(&sct_lock);
}

static int set_mode(bool on)
{
	const char *reason = on ? hinders_now() : NULL;

	if (reason) {
		pr_warn(KBUILD_MODNAME ": not enforcing: %s\n", reason);
		return -EBUSY;
	}
	sct_mode_set(on);
	if (on)
		schedule_delayed_work(&look_work, LOOK_PERIOD);
	return 0;
}

static int read_switch(const char *value, bool *on)
{
	return kstrtobool(value, on) ?: sct_may_set_parameter();
}

static int set_enforce(const char *value, const struct kernel_param *kp)
{
	bool on;
	int err = read_switch(value, &on);

	if (err)
		return err;
	mutex_lock(&sct_lock);
	if (loaded)
		err = set_mode(on);
	else
		sct_mode_set(on);
	mutex_unlock(&sct_lock);
	return err;
}

static int get_enforce(char *buffer, const struct kernel_param *kp)
{
	return sprintf(buffer, "%c\n", sct_enforcing() ? 'Y' : 'N');
}

static const struct kernel_param_ops enforce_ops = {
	.set	= set_enforce,
	.get	= get_enforce,
};

module_param_cb(enforce, &enforce_ops, NULL, 0644);
MODULE_PARM_DESC(enforce, "whether blocked calls do not run");

/**
 * sct_returns_on() - whether calls are recorded at their return
 *
 * Context: Process context, sct_lock held.
 */
bool sct_returns_on(void)
{
	lockdep_assert_held(&sct_lock);
	return returns;
}

/* A call that enters in the moment of the change would not be blocked. */
static int switch_returns(bool on)
{
	int err;

	if (loaded && is_enforced()) {
		pr_warn(KBUILD_MODNAME ": returns stays as it is: blocked calls are enforced\n");
		return -EBUSY;
	}
	sct_hooks_want_returns(on);
	err = sct_trace_rehook();
	if (err)
		sct_hooks_want_returns(returns);
	else
		returns = on;
	return err;
}

static int set_returns(const char *value, const struct kernel_param *kp)
{
	bool on;
	int err = read_switch(value, &on);

	if (err)
		return err;
	mutex_lock(&sct_lock);
	if (on != returns)
		err = switch_returns(on);
	mutex_unlock(&sct_lock);
	return err;
}

static const struct kernel_param_ops returns_ops = {
	.set	= set_returns,
	.get	= param_get_bool,
};

module_param_cb(returns, &returns_ops, &returns, 0644);
MODULE_PARM_DESC(returns, "record calls at their return, with return value and latency");

/**
 * sct_promise_init() - begin in the mode that was asked for at load
 *
 * Context: Process context, may sleep.
 */
void sct_promise_init(void)
{
	mutex_lock(&sct_lock);
	loaded = true;
	sct_mode_init();
	if (sct_enforcing())
		schedule_delayed_work(&look_work, LOOK_PERIOD);
	mutex_unlock(&sct_lock);
}

/**
 * sct_promise_exit() - do not look any more
 *
 * The parameters can be written until the module is gone for good; from now on
 * nothing comes of it.
 *
 * Context: Process context, may sleep.
 */
void sct_promise_exit(void)
{
	mutex_lock(&sct_lock);
	loaded = false;
	mutex_unlock(&sct_lock);
	cancel_delayed_work_sync(&look_work);
	sct_mode_exit();
}
