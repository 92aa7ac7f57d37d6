/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: what serves its netlink family.
 *
 * Made by `python -m kmodlab.modules.spec_c` from kernel/specs/syscall_tracer.yaml.
 */
#ifndef SYSCALL_TRACER_NETLINK_GEN_H
#define SYSCALL_TRACER_NETLINK_GEN_H

#include <net/genetlink.h>
#include "uapi.h"

/* Indices of the groups. */
enum {
	SCT_NLGRP_EVENTS,
	SCT_NLGRP_BLOCKED,
};

extern const struct genl_ops sct_nl_ops[9];
extern const struct genl_multicast_group sct_nl_groups[2];

int sct_nl_status_get_doit(struct sk_buff *skb, struct genl_info *info);
int sct_nl_cpu_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb);
int sct_nl_call_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb);
int sct_nl_call_set_doit(struct sk_buff *skb, struct genl_info *info);
int sct_nl_filter_get_start(struct netlink_callback *cb);
int sct_nl_filter_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb);
int sct_nl_filter_get_done(struct netlink_callback *cb);
int sct_nl_filter_add_doit(struct sk_buff *skb, struct genl_info *info);
int sct_nl_filter_del_doit(struct sk_buff *skb, struct genl_info *info);
int sct_nl_filter_clear_doit(struct sk_buff *skb, struct genl_info *info);
int sct_nl_leave_out_doit(struct sk_buff *skb, struct genl_info *info);

#endif /* SYSCALL_TRACER_NETLINK_GEN_H */
