// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hooks on the entry points of system calls: by kprobes, or by ftrace itself.
 */
#include <linux/module.h>
#include <linux/string.h>

#include "canary.h"
#include "entry.h"
#include "ftrace.h"
#include "hook.h"
#include "probe.h"
#include "returns.h"

static char *hook_name = "auto";
static bool use_ftrace, only_ftrace;

/* Guarded by sct_lock. */
static bool want_returns;

/* How many hooks there are of each kind; who reads takes them as they are. */
static unsigned int armed[SCT_HOOK_CANARY];

static int on_kprobe(struct kprobe *kp, struct pt_regs *regs)
{
	const struct sct_hook *hook = container_of(kp, struct sct_hook, kp);
	int err;

	if (READ_ONCE(hook->kind) != SCT_HOOK_KPROBE)
		return 0;
	err = sct_entry(hook, sct_caller(regs));
	return err ? sct_return_at_once(regs, err) : 0;
}

NOKPROBE_SYMBOL(on_kprobe);

static enum sct_hook_kind wanted_kind(const struct sct_hook *hook)
{
	if (want_returns && hook->returns)
		return SCT_HOOK_RETURN;
	return use_ftrace && hook->group ? SCT_HOOK_FTRACE : SCT_HOOK_KPROBE;
}

/* Its handlers leave the calls alone until the kind of the hook says so. */
static int arm(struct sct_hook *hook, enum sct_hook_kind kind)
{
	if (kind == SCT_HOOK_RETURN)
		return sct_return_arm(hook);
	if (kind == SCT_HOOK_FTRACE)
		return 0;
	/* Who names a kind gets that one, or none. */
	return only_ftrace ? -EOPNOTSUPP : sct_probe_put(hook, on_kprobe);
}

static void retire_kprobes(struct sct_hook **hooks, unsigned int n)
{
	struct kprobe **probes = (struct kprobe **)sct_probe_scratch;
	unsigned int i, count = 0;

	for (i = 0; i < n; i++)
		if (hooks[i]->retiring == SCT_HOOK_KPROBE)
			probes[count++] = &hooks[i]->kp;
	if (count)
		unregister_kprobes(probes, count);
	for (i = 0; i < n; i++) {
		if (hooks[i]->retiring != SCT_HOOK_KPROBE)
			continue;
		hooks[i]->missed += hooks[i]->kp.nmissed;
		hooks[i]->kp.nmissed = 0;
	}
}

static void retire_returns(struct sct_hook **hooks, unsigned int n)
{
	struct kretprobe **probes = (struct kretprobe **)sct_probe_scratch;
	unsigned int i, count = 0;

	for (i = 0; i < n; i++)
		if (hooks[i]->retiring == SCT_HOOK_RETURN)
			probes[count++] = &hooks[i]->rp;
	if (count)
		unregister_kretprobes(probes, count);
	for (i = 0; i < n; i++) {
		if (hooks[i]->retiring != SCT_HOOK_RETURN)
			continue;
		hooks[i]->missed += hooks[i]->rp.kp.nmissed;
		hooks[i]->rp.kp.nmissed = 0;
		sct_return_disarmed(hooks[i]);
	}
}

/* Removes the probes that @retiring names; handlers that run are waited for. */
static void retire(struct sct_hook **hooks, unsigned int n)
{
	unsigned int i;

	retire_kprobes(hooks, n);
	retire_returns(hooks, n);
	for (i = 0; i < n; i++)
		hooks[i]->retiring = SCT_HOOK_NONE;
}

/* The kind changes in one store: from then on the successor takes the calls. */
static void succeed(struct sct_hook *hook, enum sct_hook_kind kind)
{
	WRITE_ONCE(armed[hook->kind], armed[hook->kind] - 1);
	WRITE_ONCE(armed[kind], armed[kind] + 1);
	hook->retiring = hook->kind;
	WRITE_ONCE(hook->kind, kind);
}

/**
 * sct_hooks_switch() - have the kind of hook that is wanted now record the calls
 * @hooks: the entry points, held by ftrace where it knows them
 * @n: how many
 *
 * Successors are armed before a predecessor goes. A call that enters in the very
 * moment of the change may be recorded twice or not at all, and is not blocked
 * then: not to be done while something is enforced.
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0; else the first error, and nothing has changed.
 */
int sct_hooks_switch(struct sct_hook **hooks, unsigned int n)
{
	unsigned int i, armed;
	int err = 0;

	lockdep_assert_held(&sct_lock);
	for (armed = 0; armed < n; armed++) {
		struct sct_hook *hook = hooks[armed];

		if (hook->kind != wanted_kind(hook))
			err = arm(hook, wanted_kind(hook));
		if (err)
			break;
	}
	for (i = 0; i < armed; i++) {
		enum sct_hook_kind kind = wanted_kind(hooks[i]);

		if (hooks[i]->kind == kind)
			continue;
		if (err)
			hooks[i]->retiring = kind;
		else
			succeed(hooks[i], kind);
	}
	retire(hooks, n);
	return err;
}

/**
 * sct_hooks_arm() - hook entry points
 * @hooks: the entry points; those that are hooked already are left alone
 * @n: how many
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0, or the first error; then some of them may be held, for
 * sct_hooks_disarm().
 */
int sct_hooks_arm(struct sct_hook **hooks, unsigned int n)
{
	int err = sct_ftrace_hold(hooks, n);

	return err ?: sct_hooks_switch(hooks, n);
}

/**
 * sct_hooks_live() - whether hooks do what they are there for
 * @hooks: the entry points
 * @n: how many
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: True if each is hooked, and such hooks are called.
 */
bool sct_hooks_live(struct sct_hook **hooks, unsigned int n)
{
	bool kprobes = false;
	unsigned int i;

	lockdep_assert_held(&sct_lock);
	for (i = 0; i < n; i++) {
		if (hooks[i]->kind == SCT_HOOK_NONE)
			return false;
		kprobes |= hooks[i]->kind != SCT_HOOK_FTRACE;
	}
	return sct_canary_lives(kprobes);
}

/**
 * sct_hooks_disarm() - unhook entry points
 * @hooks: the entry points; those that are not hooked are left alone
 * @n: how many
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_hooks_disarm(struct sct_hook **hooks, unsigned int n)
{
	unsigned int i;

	lockdep_assert_held(&sct_lock);
	for (i = 0; i < n; i++)
		succeed(hooks[i], SCT_HOOK_NONE);
	retire(hooks, n);
	sct_ftrace_release(hooks, n);
}

/**
 * sct_hook_missed() - count the calls that the kernel kept from a hook
 * @hook: the entry point
 *
 * Context: Process context, sct_lock held.
 * Return: The sum of nmissed over all probes it had.
 */
unsigned long sct_hook_missed(const struct sct_hook *hook)
{
	return hook->missed + READ_ONCE(hook->kp.nmissed) +
	       READ_ONCE(hook->rp.kp.nmissed);
}

/**
 * sct_hook_name() - what records calls just now
 *
 * Context: Any.
 * Return: The kinds of hooks that are armed, or "none".
 */
const char *sct_hook_name(void)
{
	static const char * const names[] = {
		"none", "ftrace", "kprobe", "ftrace kprobe", "kretprobe",
		"ftrace kretprobe", "kprobe kretprobe",
		"ftrace kprobe kretprobe",
	};

	unsigned int kinds = 0;

	if (READ_ONCE(armed[SCT_HOOK_FTRACE]))
		kinds |= BIT(0);
	if (READ_ONCE(armed[SCT_HOOK_KPROBE]))
		kinds |= BIT(1);
	if (READ_ONCE(armed[SCT_HOOK_RETURN]))
		kinds |= BIT(2);
	return names[kinds];
}

/**
 * sct_hooks_want_returns() - say whether returns are to be recorded
 * @on: whether they are, from the next sct_hooks_switch() on
 *
 * Context: Process context, sct_lock held.
 */
void sct_hooks_want_returns(bool on)
{
	lockdep_assert_held(&sct_lock);
	want_returns = on;
}

static int get_hook(char *buffer, const struct kernel_param *kp)
{
	return sprintf(buffer, "%s\n", sct_hook_name());
}

static const struct kernel_param_ops hook_ops = {
	.set	= param_set_charp,
	.get	= get_hook,
	.free	= param_free_charp,
};

module_param_cb(hook, &hook_ops, &hook_name, 0444);
MODULE_PARM_DESC(hook, "auto, ftrace or kprobe");

/**
 * sct_hooks_init() - choose the kind of hook
 *
 * Context: Process context, may sleep.
 * Return: 0; -EINVAL for a kind that is none; -ENODEV if there is no ftrace.
 */
int sct_hooks_init(void)
{
	bool automatic = !strcmp(hook_name, "auto");

	if (!automatic && strcmp(hook_name, "ftrace") &&
	    strcmp(hook_name, "kprobe")) {
		pr_err(KBUILD_MODNAME ": hook must be auto, ftrace or kprobe\n");
		return -EINVAL;
	}
#ifdef COMPAT_FTRACE
	use_ftrace = strcmp(hook_name, "kprobe");
	only_ftrace = !strcmp(hook_name, "ftrace");
#else
	if (!automatic && strcmp(hook_name, "kprobe")) {
		pr_err(KBUILD_MODNAME ": this kernel has no ftrace hooks\n");
		return -ENODEV;
	}
#endif
	return 0;
}

/**
 * sct_hooks_exit() - remove the canaries, and wait until no task is in the stub
 *
 * A task may have been preempted there, with its next instruction in the text
 * of the module.
 *
 * Context: Process context, sct_lock held, may sleep; no hook is armed.
 */
void sct_hooks_exit(void)
{
	sct_canaries_exit();
	synchronize_rcu_tasks();
}
