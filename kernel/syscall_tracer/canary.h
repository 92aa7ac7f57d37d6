/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: do hooks work at all?
 */
#ifndef SYSCALL_TRACER_CANARY_H
#define SYSCALL_TRACER_CANARY_H

#include <linux/types.h>

bool sct_canary_lives(bool kprobes);
void sct_canaries_exit(void);

#endif /* SYSCALL_TRACER_CANARY_H */
