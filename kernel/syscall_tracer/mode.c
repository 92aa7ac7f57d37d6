// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mode: permissive or enforcing, and the way back.
 */
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "tracer.h"

#define TIMEOUT_MAX	86400	/* seconds */

static void time_is_over(struct work_struct *work);

/* Guards all below, but readers of enforce take it as it is. */
static DEFINE_MUTEX(mode_lock);
static DECLARE_DELAYED_WORK(dead_man, time_is_over);
static unsigned int running_timeout;	/* seconds; 0: no timer is set */
static bool loaded;

static bool enforce;
static unsigned int enforce_timeout;

/**
 * sct_enforcing() - whether blocked calls do not run
 *
 * Context: Any.
 * Return: The mode of this moment.
 */
bool sct_enforcing(void)
{
	return READ_ONCE(enforce);
}

NOKPROBE_SYMBOL(sct_enforcing);

static void time_is_over(struct work_struct *work)
{
	mutex_lock(&mode_lock);
	/* Unless it was just written again, which has started it anew or ended it. */
	if (enforce && running_timeout && !delayed_work_pending(&dead_man)) {
		WRITE_ONCE(enforce, false);
		pr_warn(KBUILD_MODNAME ": permissive again, enforce_timeout of %u s is over\n",
			running_timeout);
	}
	mutex_unlock(&mode_lock);
}

static void begin_mode(void)
{
	lockdep_assert_held(&mode_lock);
	cancel_delayed_work(&dead_man);
	running_timeout = enforce ? enforce_timeout : 0;
	if (running_timeout)
		schedule_delayed_work(&dead_man, running_timeout * HZ);
	pr_info(KBUILD_MODNAME ": %s\n", enforce ? "enforcing" : "permissive");
}

/**
 * sct_mode_set() - choose the mode
 * @on: whether it is enforcing
 *
 * Context: Process context, may sleep.
 */
void sct_mode_set(bool on)
{
	mutex_lock(&mode_lock);
	WRITE_ONCE(enforce, on);
	if (loaded)
		begin_mode();
	mutex_unlock(&mode_lock);
}

static int set_timeout(const char *value, const struct kernel_param *kp)
{
	int err = sct_may_set_parameter();

	return err ?: param_set_uint_minmax(value, kp, 0, TIMEOUT_MAX);
}

static const struct kernel_param_ops timeout_ops = {
	.set	= set_timeout,
	.get	= param_get_uint,
};

module_param_cb(enforce_timeout, &timeout_ops, &enforce_timeout, 0644);
MODULE_PARM_DESC(enforce_timeout, "seconds until enforcing ends by itself, 0 for never, at most 86400");

/**
 * sct_mode_init() - begin in the mode that was asked for at load
 *
 * Context: Process context, may sleep.
 */
void sct_mode_init(void)
{
	mutex_lock(&mode_lock);
	loaded = true;
	if (enforce)
		begin_mode();
	mutex_unlock(&mode_lock);
}

/**
 * sct_mode_exit() - end the dead-man timer
 *
 * The parameters can be written until the module is gone for good; from now on
 * nothing comes of it.
 *
 * Context: Process context, may sleep.
 */
void sct_mode_exit(void)
{
	mutex_lock(&mode_lock);
	loaded = false;
	mutex_unlock(&mode_lock);
	cancel_delayed_work_sync(&dead_man);
}
