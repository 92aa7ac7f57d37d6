// SPDX-License-Identifier: GPL-2.0-only
/*
 * The least that a hook on the entry of a system call can cost: a handler that
 * only counts, called by ftrace or by a kprobe. The benchmark shows how far the
 * tracer is from it.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/timekeeping.h>

static bool ftrace;
module_param(ftrace, bool, 0444);
MODULE_PARM_DESC(ftrace, "called by ftrace itself, not by a kprobe");

static bool clock;
module_param(clock, bool, 0444);
MODULE_PARM_DESC(clock, "look at the clock as well, if called by ftrace");

static DEFINE_PER_CPU(unsigned long, calls);
static DEFINE_PER_CPU(u64, latest);

#ifdef CONFIG_X86_64
#define PREFIX "__x64_sys_"
#else
#define PREFIX "__arm64_sys_"
#endif

static struct kprobe probes[] = {
	{ .symbol_name = PREFIX "getppid" },
	{ .symbol_name = PREFIX "openat" },
	{ .symbol_name = PREFIX "close" },
	{ .symbol_name = PREFIX "unlinkat" },
};

static int on_kprobe(struct kprobe *kp, struct pt_regs *regs)
{
	this_cpu_inc(calls);
	return 0;
}

static void notrace on_ftrace(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	this_cpu_inc(calls);
}

/* What any tracer has to do that tells when a call was, in any context. */
static void notrace on_ftrace_clock(unsigned long ip, unsigned long parent_ip,
				    struct ftrace_ops *ops,
				    struct ftrace_regs *fregs)
{
	this_cpu_inc(calls);
	this_cpu_write(latest, ktime_get_mono_fast_ns());
}

static struct ftrace_ops ops = {
	.func	= on_ftrace,
	.flags	= COMPAT_FTRACE_FLAGS,
};

static int show_calls(char *buffer, const struct kernel_param *kp)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += per_cpu(calls, cpu);
	return sprintf(buffer, "%lu\n", sum);
}

static const struct kernel_param_ops calls_ops = { .get = show_calls };

module_param_cb(calls, &calls_ops, NULL, 0444);
MODULE_PARM_DESC(calls, "how many were counted");

/* A kprobe that is never armed finds the address. */
static int hook_by_ftrace(void)
{
	unsigned long ip;
	unsigned int i;
	int err;

	if (clock)
		ops.func = on_ftrace_clock;
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		probes[i].flags = KPROBE_FLAG_DISABLED;
		err = register_kprobe(&probes[i]);
		if (err)
			return err;
		err = compat_ftrace_ask(&ops, (unsigned long)probes[i].addr, &ip);
		unregister_kprobe(&probes[i]);
		if (err)
			return err;
	}
	return register_ftrace_function(&ops);
}

static int hook_by_kprobes(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		probes[i].pre_handler = on_kprobe;
		err = register_kprobe(&probes[i]);
		if (err)
			break;
	}
	while (err && i--)
		unregister_kprobe(&probes[i]);
	return err;
}

static int __init floor_init(void)
{
	return ftrace ? hook_by_ftrace() : hook_by_kprobes();
}

static void __exit floor_exit(void)
{
	unsigned int i;

	if (ftrace)
		unregister_ftrace_function(&ops);
	else
		for (i = 0; i < ARRAY_SIZE(probes); i++)
			unregister_kprobe(&probes[i]);
}

module_init(floor_init);
module_exit(floor_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What an empty hook on a system call costs");
