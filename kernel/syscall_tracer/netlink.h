/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: its netlink family.
 */
#ifndef SYSCALL_TRACER_NETLINK_H
#define SYSCALL_TRACER_NETLINK_H

#include "netlink_gen.h"
#include "tracer.h"

/* deliver.c */
void sct_deliver_init(struct genl_family *to);
void sct_deliver_start(void);
void sct_deliver_stop(void);
void sct_deliver_look(void);
void sct_deliver_joins(void);

#endif /* SYSCALL_TRACER_NETLINK_H */
