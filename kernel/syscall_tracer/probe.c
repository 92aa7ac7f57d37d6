// SPDX-License-Identifier: GPL-2.0-only
/*
 * Probes: kprobes on entry points.
 */
#include <linux/string.h>

#include "probe.h"

/* For lists of probes, one at a time. Guarded by sct_lock. */
void *sct_probe_scratch[SCT_HOOKS_MAX];

/*
 * It does nothing, but that it is there tells the kprobes core that the
 * handler may change where the function goes, so it is not to be called from an
 * optimized detour. On a function that kprobes hook by ftrace there is no detour,
 * and the core, which takes the post-handler for a sign that the probe was
 * armed in another way, would disarm the wrong one beside somebody else's probe.
 */
void sct_probe_post(struct kprobe *kp, struct pt_regs *regs, unsigned long flags)
{
}

NOKPROBE_SYMBOL(sct_probe_post);

/**
 * sct_probe_put() - put a kprobe on an entry point that was found
 * @hook: the entry point
 * @handler: may change where the function goes
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0, or what kprobes say.
 */
int sct_probe_put(struct sct_hook *hook, kprobe_pre_handler_t handler)
{
	memset(&hook->kp, 0, sizeof(hook->kp));
	hook->kp.addr = (kprobe_opcode_t *)hook->addr;
	hook->kp.pre_handler = handler;
	if (!hook->by_ftrace)
		hook->kp.post_handler = sct_probe_post;
	return register_kprobe(&hook->kp);
}

/**
 * sct_probe_find() - find an entry point
 * @hook: its symbol is set, or where it lies in the module itself @addr
 *
 * A kprobe that is not armed finds it, for kallsyms is not for modules. To be
 * followed by sct_probes_found().
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0; -ENOENT if there is no such entry point; else what kprobes say.
 */
int sct_probe_find(struct sct_hook *hook)
{
	int err;

	lockdep_assert_held(&sct_lock);
	if (hook->addr)
		hook->kp.addr = (kprobe_opcode_t *)hook->addr;
	else
		hook->kp.symbol_name = hook->symbol;
	hook->kp.flags = KPROBE_FLAG_DISABLED;
	err = register_kprobe(&hook->kp);
	if (err)
		return err;
	hook->finding = true;
	hook->addr = (unsigned long)hook->kp.addr;
	hook->by_ftrace = kprobe_ftrace(&hook->kp);
	return 0;
}

/**
 * sct_probes_found() - end the search
 * @hooks: the entry points, those of sct_probe_find() among them
 * @n: how many
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_probes_found(struct sct_hook **hooks, unsigned int n)
{
	struct kprobe **probes = (struct kprobe **)sct_probe_scratch;
	unsigned int i, count = 0;

	lockdep_assert_held(&sct_lock);
	for (i = 0; i < n; i++)
		if (hooks[i]->finding) {
			probes[count++] = &hooks[i]->kp;
			hooks[i]->finding = false;
		}
	if (count)
		unregister_kprobes(probes, count);
}
