/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: entry points that ftrace holds for the module.
 */
#ifndef SYSCALL_TRACER_FTRACE_H
#define SYSCALL_TRACER_FTRACE_H

#include "hook.h"

int sct_ftrace_hold(struct sct_hook **hooks, unsigned int n);
void sct_ftrace_release(struct sct_hook **hooks, unsigned int n);

#endif /* SYSCALL_TRACER_FTRACE_H */
