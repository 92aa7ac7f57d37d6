// SPDX-License-Identifier: GPL-2.0-only
/*
 * Canaries: functions that are hooked as system calls are, and called by the
 * module alone, to see whether such hooks are called at all just now.
 *
 * What is hooked can be switched off for all: kprobes by a file of debugfs, and
 * ftrace by a bug of the kernel's own.
 */
#include "canary.h"
#include "ftrace.h"
#include "probe.h"

/* All zero, which the compiler must not know. */
static int silent[2];

static noinline int ftrace_canary(void)
{
	return READ_ONCE(silent[0]);
}

static noinline int kprobe_canary(void)
{
	return READ_ONCE(silent[1]);
}

/* Guarded by sct_lock. */
static struct sct_hook by_ftrace;
static struct sct_hook by_kprobe;

static int on_canary(struct kprobe *kp, struct pt_regs *regs)
{
	return sct_return_at_once(regs, -SCT_CANARY);
}

NOKPROBE_SYMBOL(on_canary);

static int find(struct sct_hook *hook, int (*canary)(void))
{
	int err;

	hook->addr = (unsigned long)canary;
	err = sct_probe_find(hook);
	if (!err)
		sct_probes_found(&hook, 1);
	return err;
}

static void arm_by_ftrace(void)
{
	struct sct_hook *hook = &by_ftrace;

	if (hook->group || find(hook, ftrace_canary))
		return;
	hook->kind = SCT_HOOK_CANARY;
	sct_ftrace_hold(&hook, 1);
}

static void arm_by_kprobe(void)
{
	struct sct_hook *hook = &by_kprobe;

	if (hook->kind || find(hook, kprobe_canary))
		return;
	if (!sct_probe_put(hook, on_canary))
		hook->kind = SCT_HOOK_CANARY;
}

/**
 * sct_canary_lives() - whether hooks are called
 * @kprobes: kprobes are in use, beside what ftrace holds
 *
 * A canary that could not be hooked so far is tried again.
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: True if so.
 */
bool sct_canary_lives(bool kprobes)
{
	lockdep_assert_held(&sct_lock);
#ifdef COMPAT_FTRACE
	arm_by_ftrace();
	if (ftrace_canary() != -SCT_CANARY)
		return false;
#endif
	if (!kprobes)
		return true;
	arm_by_kprobe();
	return kprobe_canary() == -SCT_CANARY;
}

/**
 * sct_canaries_exit() - unhook the canaries
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_canaries_exit(void)
{
	struct sct_hook *hook = &by_ftrace;

	lockdep_assert_held(&sct_lock);
	sct_ftrace_release(&hook, 1);
	if (by_kprobe.kind)
		unregister_kprobe(&by_kprobe.kp);
	by_kprobe.kind = SCT_HOOK_NONE;
}
