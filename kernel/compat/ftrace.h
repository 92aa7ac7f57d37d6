/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What syscall_tracer needs to hook functions by ftrace itself, alike on every
 * supported kernel.
 */
#ifndef KMODLAB_COMPAT_FTRACE_H
#define KMODLAB_COMPAT_FTRACE_H

#include <linux/ftrace.h>
#include <linux/ptrace.h>
#include <linux/version.h>

#if defined(CONFIG_HAVE_DYNAMIC_FTRACE_WITH_ARGS) || \
	defined(CONFIG_DYNAMIC_FTRACE_WITH_REGS)
#define COMPAT_FTRACE 1
#endif

/* The arguments are all that is needed: saving every register costs. */
#ifdef CONFIG_HAVE_DYNAMIC_FTRACE_WITH_ARGS
#define COMPAT_FTRACE_REGS_FLAG 0
#else
#define COMPAT_FTRACE_REGS_FLAG FTRACE_OPS_FL_SAVE_REGS
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 11, 0)
/* A handler that cannot recurse had to say so; now the others have to. */
#define COMPAT_FTRACE_FLAGS \
	(COMPAT_FTRACE_REGS_FLAG | FTRACE_OPS_FL_RECURSION_SAFE)
#define ftrace_regs pt_regs
#define compat_pt_regs(fregs) (fregs)
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define COMPAT_FTRACE_FLAGS COMPAT_FTRACE_REGS_FLAG
#define compat_pt_regs(fregs) (&(fregs)->regs)
#else
#define COMPAT_FTRACE_FLAGS COMPAT_FTRACE_REGS_FLAG
#endif

#ifdef compat_pt_regs
#define ftrace_regs_get_argument(fregs, n) \
	regs_get_kernel_argument(compat_pt_regs(fregs), n)
#define ftrace_regs_set_return_value(fregs, value) \
	regs_set_return_value(compat_pt_regs(fregs), value)
#define ftrace_regs_set_instruction_pointer(fregs, ip) \
	instruction_pointer_set(compat_pt_regs(fregs), ip)
#endif

/*
 * Where ftrace may have its call in a function. On arm64 it is the second of two
 * instructions, behind a landing pad if there is one: the code itself does not
 * tell, for somebody's breakpoint may lie on it.
 */
#ifdef CONFIG_ARM64
#define COMPAT_FTRACE_OFFSETS { 4, 8 }
#else
#define COMPAT_FTRACE_OFFSETS { 0 }
#endif

/* Asks for the calls of a function; -EINVAL if ftrace does not know it. */
static inline int compat_ftrace_ask(struct ftrace_ops *ops, unsigned long entry,
				    unsigned long *ip)
{
	static const unsigned int offsets[] = COMPAT_FTRACE_OFFSETS;
	unsigned int i;
	int err = -EINVAL;

	for (i = 0; i < ARRAY_SIZE(offsets) && err == -EINVAL; i++) {
		*ip = entry + offsets[i];
		err = ftrace_set_filter_ip(ops, *ip, 0, 0);
	}
	return err;
}

#endif /* KMODLAB_COMPAT_FTRACE_H */
