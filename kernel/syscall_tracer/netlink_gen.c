// SPDX-License-Identifier: GPL-2.0-only
/*
 * syscall_tracer: the tables of its netlink family.
 *
 * Made by `python -m kmodlab.modules.spec_c` from kernel/specs/syscall_tracer.yaml.
 */
#include <linux/build_bug.h>
#include <linux/log2.h>
#include <linux/stddef.h>

#include "netlink_gen.h"
#include "record.h"

static const struct nla_policy sct_call_set_policy[SCT_A_CALLS_TRACED + 1] = {
	[SCT_A_CALLS_NAME] = { .type = NLA_NUL_STRING, .len = 63 },
	[SCT_A_CALLS_TRACED] = NLA_POLICY_MAX(NLA_U8, 1),
};

static const struct nla_policy sct_filter_add_policy[SCT_A_FILTER_PATH + 1] = {
	[SCT_A_FILTER_NAME] = { .type = NLA_NUL_STRING, .len = 63 },
	[SCT_A_FILTER_VERDICT] = NLA_POLICY_MAX(NLA_U32, 1),
	[SCT_A_FILTER_ERRNO] = NLA_POLICY_RANGE(NLA_U32, 1, 133),
	[SCT_A_FILTER_PID] = NLA_POLICY_MIN(NLA_S32, 0),
	[SCT_A_FILTER_UID] = { .type = NLA_U32 },
	[SCT_A_FILTER_COMM] = { .type = NLA_NUL_STRING, .len = 15 },
	[SCT_A_FILTER_PATH] = { .type = NLA_NUL_STRING, .len = 255 },
};

static const struct nla_policy sct_filter_del_policy[SCT_A_FILTER_NAME + 1] = {
	[SCT_A_FILTER_NAME] = { .type = NLA_NUL_STRING, .len = 63 },
};

static const struct nla_policy sct_leave_out_policy[SCT_A_PROCESS_PID + 1] = {
	[SCT_A_PROCESS_PID] = NLA_POLICY_MIN(NLA_U32, 1),
};

const struct genl_ops sct_nl_ops[9] = {
	{
		.cmd	= SCT_CMD_STATUS_GET,
		.doit	= sct_nl_status_get_doit,
	},
	{
		.cmd	= SCT_CMD_CPU_GET,
		.dumpit	= sct_nl_cpu_get_dumpit,
	},
	{
		.cmd	= SCT_CMD_CALL_GET,
		.dumpit	= sct_nl_call_get_dumpit,
	},
	{
		.cmd	= SCT_CMD_CALL_SET,
		.doit	= sct_nl_call_set_doit,
		.policy	= sct_call_set_policy,
		.maxattr	= ARRAY_SIZE(sct_call_set_policy) - 1,
	},
	{
		.cmd	= SCT_CMD_FILTER_GET,
		.start	= sct_nl_filter_get_start,
		.dumpit	= sct_nl_filter_get_dumpit,
		.done	= sct_nl_filter_get_done,
	},
	{
		.cmd	= SCT_CMD_FILTER_ADD,
		.doit	= sct_nl_filter_add_doit,
		.policy	= sct_filter_add_policy,
		.maxattr	= ARRAY_SIZE(sct_filter_add_policy) - 1,
	},
	{
		.cmd	= SCT_CMD_FILTER_DEL,
		.doit	= sct_nl_filter_del_doit,
		.policy	= sct_filter_del_policy,
		.maxattr	= ARRAY_SIZE(sct_filter_del_policy) - 1,
	},
	{
		.cmd	= SCT_CMD_FILTER_CLEAR,
		.doit	= sct_nl_filter_clear_doit,
	},
	{
		.cmd	= SCT_CMD_LEAVE_OUT,
		.doit	= sct_nl_leave_out_doit,
		.policy	= sct_leave_out_policy,
		.maxattr	= ARRAY_SIZE(sct_leave_out_policy) - 1,
	},
};

const struct genl_multicast_group sct_nl_groups[2] = {
	[SCT_NLGRP_EVENTS] = { .name = "events", COMPAT_MCAST_ADMIN },
	[SCT_NLGRP_BLOCKED] = { .name = "blocked", COMPAT_MCAST_ADMIN },
};

/* What is sent lies as the specification says. */
static_assert(sizeof(struct sct_record) == 128);
static_assert(offsetof(struct sct_record, seq) == 0);
static_assert(offsetof(struct sct_record, clock) == 8);
static_assert(offsetof(struct sct_record, latency) == 16);
static_assert(offsetof(struct sct_record, ret) == 24);
static_assert(offsetof(struct sct_record, args) == 32);
static_assert(offsetof(struct sct_record, jiffies) == 80);
static_assert(offsetof(struct sct_record, pid) == 88);
static_assert(offsetof(struct sct_record, tid) == 92);
static_assert(offsetof(struct sct_record, ppid) == 96);
static_assert(offsetof(struct sct_record, uid) == 100);
static_assert(offsetof(struct sct_record, call) == 104);
static_assert(offsetof(struct sct_record, cpu) == 106);
static_assert(offsetof(struct sct_record, status) == 108);
static_assert(offsetof(struct sct_record, flags) == 109);
static_assert(offsetof(struct sct_record, size) == 110);
static_assert(offsetof(struct sct_record, comm) == 112);
static_assert(ilog2(SCT_RETURNED) == 0);
static_assert(ilog2(SCT_COMPAT) == 1);
static_assert(ilog2(SCT_ENFORCED) == 2);
static_assert(ilog2(SCT_UNREADABLE) == 3);
static_assert(ilog2(SCT_TRUNCATED) == 4);
static_assert(sizeof(struct sct_item) == 4);
static_assert(offsetof(struct sct_item, arg) == 0);
static_assert(offsetof(struct sct_item, size) == 2);
