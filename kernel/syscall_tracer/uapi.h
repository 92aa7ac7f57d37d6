/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: the numbers of its netlink family.
 *
 * Made by `python -m kmodlab.modules.spec_c` from kernel/specs/syscall_tracer.yaml.
 */
#ifndef SYSCALL_TRACER_UAPI_H
#define SYSCALL_TRACER_UAPI_H

#define SCT_FAMILY_NAME	"syscall_tracer"
#define SCT_FAMILY_VERSION	1
#define SCT_GROUP_EVENTS	"events"

/* Whether blocked calls run all the same. */
enum sct_mode {
	SCT_MODE_PERMISSIVE = 0,
	SCT_MODE_ENFORCING = 1,
};

/* What a filter says of the calls that match it, and a record of its call. */
enum sct_verdict {
	SCT_VERDICT_ALLOW = 0,
	SCT_VERDICT_BLOCK = 1,
};

enum {
	SCT_A_STATUS_PAD = 1,
	SCT_A_STATUS_VERSION = 2,
	SCT_A_STATUS_ENTRIES = 3,
	SCT_A_STATUS_DATA_BYTES = 4,
	SCT_A_STATUS_MODE = 5,
	SCT_A_STATUS_HOOK = 6,
	SCT_A_STATUS_RETURNS = 7,
	SCT_A_STATUS_ISSUED = 8,
	SCT_A_STATUS_LOGGED = 9,
	SCT_A_STATUS_OVERWRITTEN = 10,
	SCT_A_STATUS_DROPPED = 11,
	SCT_A_STATUS_MISSED = 12,
	SCT_A_STATUS_IN_FLIGHT = 13,
	SCT_A_STATUS_ORPHANED = 14,
	SCT_A_STATUS_RETURNS_MISSED = 15,
};

enum {
	SCT_A_CPU_PAD = 1,
	SCT_A_CPU_CPU = 2,
	SCT_A_CPU_ISSUED = 3,
	SCT_A_CPU_LOGGED = 4,
	SCT_A_CPU_OVERWRITTEN = 5,
	SCT_A_CPU_DROPPED = 6,
};

enum {
	SCT_A_CALL_PAD = 1,
	SCT_A_CALL_ID = 2,
	SCT_A_CALL_NAME = 3,
	SCT_A_CALL_ARGUMENTS = 4,
	SCT_A_CALL_TRACED = 5,
	SCT_A_CALL_MISSED = 6,
	SCT_A_CALL_COMPAT_ARGUMENTS = 7,
	SCT_A_CALL_ISSUED = 8,
	SCT_A_CALL_BLOCKED = 9,
	SCT_A_CALL_FAILED = 10,
};

enum {
	SCT_A_CALLS_NAME = 1,
	SCT_A_CALLS_TRACED = 2,
};

enum {
	SCT_A_FILTER_NAME = 1,
	SCT_A_FILTER_VERDICT = 2,
	SCT_A_FILTER_ERRNO = 3,
	SCT_A_FILTER_PID = 4,
	SCT_A_FILTER_UID = 5,
	SCT_A_FILTER_COMM = 6,
	SCT_A_FILTER_PATH = 7,
};

enum {
	SCT_A_BATCH_CPU = 1,
	SCT_A_BATCH_LOST = 2,
	SCT_A_BATCH_RECORDS = 3,
};

enum {
	SCT_CMD_STATUS_GET = 1,
	SCT_CMD_CPU_GET = 2,
	SCT_CMD_CALL_GET = 3,
	SCT_CMD_CALL_SET = 4,
	SCT_CMD_FILTER_GET = 5,
	SCT_CMD_FILTER_ADD = 6,
	SCT_CMD_FILTER_DEL = 7,
	SCT_CMD_FILTER_CLEAR = 8,
	SCT_CMD_EVENT = 9,
};

#endif /* SYSCALL_TRACER_UAPI_H */
