/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: processes whose calls are left out.
 */
#ifndef SYSCALL_TRACER_LEFT_OUT_H
#define SYSCALL_TRACER_LEFT_OUT_H

#include <linux/jump_label.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/types.h>

#define SCT_LEFT_OUT_MAX	8	/* processes */

DECLARE_STATIC_KEY_FALSE(sct_leaving_out);

bool sct_left_out_now(void);
struct sct_record *sct_left_out_borrow(void);
void sct_left_out_return(void);

int sct_left_out_add(pid_t number, u32 port);
void sct_left_out_close(u32 port);
unsigned int sct_left_out_pids(pid_t *pids);
void sct_left_out_exit(void);

/**
 * sct_left_out() - whether the calls of this process are left out
 *
 * While those of nobody are it is a branch that is patched away.
 *
 * Context: Any that belongs to the calling task, with preemption off.
 * Return: True if so.
 */
static __always_inline bool sct_left_out(void)
{
	return static_branch_unlikely(&sct_leaving_out) && sct_left_out_now();
}

#endif /* SYSCALL_TRACER_LEFT_OUT_H */
