// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a live patch does to a function, without a live patch: an ops of ftrace
 * that is IPMODIFY sends the function elsewhere. There it returns an errno that
 * nobody else returns.
 */
#include <linux/kprobes.h>
#include <linux/module.h>

static char *function;
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "the function to redirect");

static unsigned long ip;

static notrace long elsewhere(const struct pt_regs *regs)
{
	return -EUCLEAN;
}

static void notrace on_ftrace(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)elsewhere);
}

static struct ftrace_ops ops = {
	.func	= on_ftrace,
	.flags	= COMPAT_FTRACE_FLAGS | FTRACE_OPS_FL_IPMODIFY,
};

/* A kprobe that is never armed finds the address, for kallsyms is not for modules. */
static int ask_for(void)
{
	struct kprobe probe = {
		.symbol_name	= function,
		.flags		= KPROBE_FLAG_DISABLED,
	};
	int err = register_kprobe(&probe);

	if (err)
		return err;
	err = compat_ftrace_ask(&ops, (unsigned long)probe.addr, &ip);
	unregister_kprobe(&probe);
	return err;
}

static int __init redirect_init(void)
{
	int err = function ? ask_for() : -EINVAL;

	if (err)
		return err;
	err = register_ftrace_function(&ops);
	if (err)
		ftrace_set_filter_ip(&ops, ip, 1, 0);
	return err;
}

static void __exit redirect_exit(void)
{
	unregister_ftrace_function(&ops);
	/* Who runs elsewhere may have been preempted there. */
	synchronize_rcu_tasks();
}

module_init(redirect_init);
module_exit(redirect_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Redirects a function, as a live patch does");
