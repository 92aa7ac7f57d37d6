/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: where system calls enter.
 */
#ifndef SYSCALL_TRACER_POINT_H
#define SYSCALL_TRACER_POINT_H

#include "hook.h"

unsigned int sct_points_collect(const unsigned long *set, bool in_set,
				struct sct_hook ***hooks);
void sct_points_exit(void);

#endif /* SYSCALL_TRACER_POINT_H */
