/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: kprobes on entry points.
 */
#ifndef SYSCALL_TRACER_PROBE_H
#define SYSCALL_TRACER_PROBE_H

#include <linux/ptrace.h>

#include "hook.h"
#include "stub.h"

extern void *sct_probe_scratch[SCT_HOOKS_MAX];

int sct_probe_find(struct sct_hook *hook);
void sct_probes_found(struct sct_hook **hooks, unsigned int n);
int sct_probe_put(struct sct_hook *hook, kprobe_pre_handler_t handler);
void sct_probe_post(struct kprobe *kp, struct pt_regs *regs,
		    unsigned long flags);

/* What an entry point is given: the registers of the caller. */
static inline const struct pt_regs *sct_caller(struct pt_regs *regs)
{
	return (const struct pt_regs *)regs_get_kernel_argument(regs, 0);
}

/* Has the probed function return at once. */
static inline int sct_return_at_once(struct pt_regs *regs, int err)
{
	instruction_pointer_set(regs, sct_stub(err));
	return 1;
}

#endif /* SYSCALL_TRACER_PROBE_H */
