/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: its netlink family.
 */
#ifndef SYSCALL_TRACER_NETLINK_H
#define SYSCALL_TRACER_NETLINK_H

#include "netlink_gen.h"
#include "tracer.h"

/* netlink.c */
extern struct genl_family sct_family;

/* deliver.c */
int sct_deliver_init(void);
void sct_deliver_start(void);
void sct_deliver_stop(void);
void sct_deliver_exit(void);
void sct_deliver_look(void);

#endif /* SYSCALL_TRACER_NETLINK_H */
