// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hooks on the entry points of system calls: by kprobes, or by ftrace itself.
 */
#include <linux/hash.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "entry.h"

#define HOOKS_MAX	(2 * SCT_CALLS_MAX)

static char *hook_name = "auto";
static bool use_ftrace;

/*
 * It does nothing, but that it is there tells the kprobes core that the
 * handler may change where the function goes.
 */
static void on_kprobe_post(struct kprobe *kp, struct pt_regs *regs,
			   unsigned long flags)
{
}

NOKPROBE_SYMBOL(on_kprobe_post);

static int __section(".text.on_kprobe") __aligned(SCT_IN_A_PAGE)
on_kprobe(struct kprobe *kp, struct pt_regs *regs)
{
	const struct sct_hook *hook = container_of(kp, struct sct_hook, kp);
	int err = sct_entry(hook, sct_caller(regs));

	return err ? sct_return_at_once(regs, err) : 0;
}

NOKPROBE_SYMBOL(on_kprobe);

#ifdef COMPAT_FTRACE

#define SLOTS_BITS	11	/* twice as many as there are hooks */

/*
 * The hooks by the address that ftrace tells its handler: open addressing.
 * Entries are only ever added.
 */
static struct sct_hook *slots[1 << SLOTS_BITS];
static unsigned int slots_armed;

static const struct sct_hook *find_slot(unsigned long ip)
{
	u32 i = hash_long(ip, SLOTS_BITS);
	const struct sct_hook *hook;

	while ((hook = READ_ONCE(slots[i])) && hook->ip != ip)
		i = (i + 1) % ARRAY_SIZE(slots);
	return hook;
}

static void add_slot(struct sct_hook *hook)
{
	u32 i = hash_long(hook->ip, SLOTS_BITS);

	while (slots[i]) {
		if (slots[i] == hook)
			return;
		i = (i + 1) % ARRAY_SIZE(slots);
	}
	/* The hook is complete before the handler can find it. */
	smp_store_release(&slots[i], hook);
}

static void notrace __section(".text.on_ftrace") __aligned(SCT_IN_A_PAGE)
on_ftrace(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
	  struct ftrace_regs *fregs)
{
	const struct sct_hook *hook;
	const struct pt_regs *caller;
	int err;

	preempt_disable_notrace();
	hook = find_slot(ip);
	if (hook) {
		caller = (const struct pt_regs *)ftrace_regs_get_argument(fregs, 0);
		err = sct_entry(hook, caller);
		if (err) {
			ftrace_regs_set_return_value(fregs, err);
			ftrace_regs_set_instruction_pointer(fregs, (unsigned long)sct_stub);
		}
	}
	preempt_enable_notrace();
}

/* IPMODIFY: another one who redirects the function is refused, not raced. */
static struct ftrace_ops ftrace_ops = {
	.func	= on_ftrace,
	.flags	= COMPAT_FTRACE_FLAGS | FTRACE_OPS_FL_IPMODIFY |
		  FTRACE_OPS_FL_PERMANENT,
};

static unsigned int collect_ips(struct sct_hook **hooks, unsigned int n,
				enum sct_hook_kind kind, unsigned long *ips)
{
	unsigned int i, count = 0;

	for (i = 0; i < n; i++)
		if (hooks[i]->kind == kind)
			ips[count++] = hooks[i]->ip;
	return count;
}

static int arm_ftrace(struct sct_hook **hooks, unsigned int n)
{
	unsigned long *ips = kmalloc_array(n, sizeof(*ips), GFP_KERNEL);
	unsigned int i, count;
	int err;

	if (!ips)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		if (hooks[i]->kind == SCT_HOOK_NONE)
			add_slot(hooks[i]);
	count = collect_ips(hooks, n, SCT_HOOK_NONE, ips);
	err = count ? ftrace_set_filter_ips(&ftrace_ops, ips, count, 0, 0) : 0;
	if (!err && count && !slots_armed)
		err = register_ftrace_function(&ftrace_ops);
	if (err && count)
		ftrace_set_filter_ips(&ftrace_ops, ips, count, 1, 0);
	kfree(ips);
	if (err)
		return err;
	slots_armed += count;
	for (i = 0; i < n; i++)
		if (hooks[i]->kind == SCT_HOOK_NONE)
			hooks[i]->kind = SCT_HOOK_FTRACE;
	return 0;
}

/* An empty filter would mean every function of the kernel. */
static void disarm_ftrace(struct sct_hook **hooks, unsigned int n)
{
	static unsigned long ips[HOOKS_MAX];
	unsigned int i, count;

	count = collect_ips(hooks, n, SCT_HOOK_FTRACE, ips);
	if (!count)
		return;
	slots_armed -= count;
	if (!slots_armed)
		unregister_ftrace_function(&ftrace_ops);
	ftrace_set_filter_ips(&ftrace_ops, ips, count, 1, 0);
	for (i = 0; i < n; i++)
		if (hooks[i]->kind == SCT_HOOK_FTRACE)
			hooks[i]->kind = SCT_HOOK_NONE;
}

#else /* !COMPAT_FTRACE */

static int arm_ftrace(struct sct_hook **hooks, unsigned int n)
{
	return -ENODEV;
}

static void disarm_ftrace(struct sct_hook **hooks, unsigned int n)
{
}

#endif

static int arm_kprobe(struct sct_hook *hook)
{
	int err;

	memset(&hook->kp, 0, sizeof(hook->kp));
	hook->kp.addr = (kprobe_opcode_t *)hook->addr;
	hook->kp.pre_handler = on_kprobe;
	hook->kp.post_handler = on_kprobe_post;
	err = register_kprobe(&hook->kp);
	if (!err)
		hook->kind = SCT_HOOK_KPROBE;
	return err;
}

/**
 * sct_hook_find() - find an entry point
 * @hook: its symbol is set
 *
 * A kprobe that is not armed finds it, for kallsyms is not for modules. To be
 * followed by sct_hooks_found().
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0; -ENOENT if there is no such entry point; else what kprobes say.
 */
int sct_hook_find(struct sct_hook *hook)
{
	int err;

	lockdep_assert_held(&sct_lock);
	hook->kp.symbol_name = hook->symbol;
	hook->kp.pre_handler = on_kprobe;
	hook->kp.flags = KPROBE_FLAG_DISABLED;
	err = register_kprobe(&hook->kp);
	if (err)
		return err;
	hook->finding = true;
	hook->addr = (unsigned long)hook->kp.addr;
#ifdef COMPAT_FTRACE
	hook->ip = compat_ftrace_ip(hook->addr);
#endif
	return 0;
}

/**
 * sct_hooks_found() - end the search
 * @hooks: the entry points, those of sct_hook_find() among them
 * @n: how many
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_hooks_found(struct sct_hook **hooks, unsigned int n)
{
	static struct kprobe *probes[HOOKS_MAX];
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

/**
 * sct_hooks_arm() - hook entry points
 * @hooks: the entry points; those that are hooked already are left alone
 * @n: how many
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0, or the first error; then some of them may be hooked.
 */
int sct_hooks_arm(struct sct_hook **hooks, unsigned int n)
{
	unsigned int i;
	int err;

	lockdep_assert_held(&sct_lock);
	for (i = 0; i < n; i++) {
		struct sct_hook *hook = hooks[i];

		if (hook->kind != SCT_HOOK_NONE)
			continue;
		if (sct_returns_on() && hook->returns) {
			err = sct_return_arm(hook);
			if (err)
				return err;
		}
	}
	/* Where ftrace refuses, someone else's redirection may be in place. */
	if (use_ftrace && !arm_ftrace(hooks, n))
		return 0;
	for (i = 0; i < n; i++) {
		err = hooks[i]->kind == SCT_HOOK_NONE ? arm_kprobe(hooks[i]) : 0;
		if (err)
			return err;
	}
	return 0;
}

static void disarm_kprobes(struct sct_hook **hooks, unsigned int n)
{
	static struct kprobe *probes[HOOKS_MAX];
	unsigned int i, count = 0;

	for (i = 0; i < n; i++)
		if (hooks[i]->kind == SCT_HOOK_KPROBE)
			probes[count++] = &hooks[i]->kp;
	if (!count)
		return;
	unregister_kprobes(probes, count);
	for (i = 0; i < count; i++) {
		struct sct_hook *hook;

		hook = container_of(probes[i], struct sct_hook, kp);
		hook->missed += hook->kp.nmissed;
		hook->kp.nmissed = 0;
		hook->kind = SCT_HOOK_NONE;
	}
}

static void disarm_returns(struct sct_hook **hooks, unsigned int n)
{
	static struct kretprobe *probes[HOOKS_MAX];
	unsigned int i, count = 0;

	for (i = 0; i < n; i++)
		if (hooks[i]->kind == SCT_HOOK_RETURN)
			probes[count++] = &hooks[i]->rp;
	if (!count)
		return;
	unregister_kretprobes(probes, count);
	for (i = 0; i < count; i++) {
		struct sct_hook *hook;

		hook = container_of(probes[i], struct sct_hook, rp);
		hook->missed += hook->rp.kp.nmissed;
		hook->rp.kp.nmissed = 0;
		hook->kind = SCT_HOOK_NONE;
		sct_return_disarmed(hook);
	}
}

/**
 * sct_hooks_disarm() - unhook entry points
 * @hooks: the entry points; those that are not hooked are left alone
 * @n: how many
 *
 * Handlers that run are waited for.
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_hooks_disarm(struct sct_hook **hooks, unsigned int n)
{
	lockdep_assert_held(&sct_lock);
	disarm_ftrace(hooks, n);
	disarm_kprobes(hooks, n);
	disarm_returns(hooks, n);
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
 * sct_hook_name() - the kind of hook in use
 *
 * Context: Any.
 * Return: "ftrace" or "kprobe".
 */
const char *sct_hook_name(void)
{
	return use_ftrace ? "ftrace" : "kprobe";
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
#else
	if (!automatic && strcmp(hook_name, "kprobe")) {
		pr_err(KBUILD_MODNAME ": this kernel has no ftrace hooks\n");
		return -ENODEV;
	}
#endif
	return 0;
}

/**
 * sct_hooks_exit() - wait until no task is in the stub
 *
 * A task may have been preempted there, with its next instruction in the text
 * of the module.
 *
 * Context: Process context, may sleep; no hook is armed.
 */
void sct_hooks_exit(void)
{
	synchronize_rcu_tasks();
}
