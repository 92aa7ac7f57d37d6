/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: calls that are recorded at their return.
 */
#ifndef SYSCALL_TRACER_RETURNS_H
#define SYSCALL_TRACER_RETURNS_H

#include "hook.h"

int sct_return_arm(struct sct_hook *hook);
void sct_return_disarmed(struct sct_hook *hook);
void sct_returns_stats(struct sct_hook **hooks, unsigned int n,
		       struct sct_return_stats *stats);

#endif /* SYSCALL_TRACER_RETURNS_H */
