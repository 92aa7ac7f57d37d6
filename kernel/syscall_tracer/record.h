/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The record of one system call, as the log keeps it. docs/abi.md says how it is
 * shown.
 */
#ifndef SYSCALL_TRACER_RECORD_H
#define SYSCALL_TRACER_RECORD_H

#include <linux/bits.h>
#include <linux/types.h>

#define SCT_ARGS	6
#define SCT_COMM_LEN	16

/* values of status */
#define SCT_ALLOWED	0
#define SCT_BLOCKED	1

/* bits of flags */
#define SCT_RETURNED	BIT(0)	/* ret and latency are known */
#define SCT_COMPAT	BIT(1)	/* it was made as 32-bit programs do */
#define SCT_ENFORCED	BIT(2)	/* the call did not run; ret is known */
#define SCT_UNREADABLE	BIT(3)	/* some user memory was not there */
#define SCT_TRUNCATED	BIT(4)	/* more data than is kept */

/**
 * struct sct_record - one system call
 * @seq: its number on its CPU, from 0, records that were dropped included
 * @clock: CLOCK_MONOTONIC on entry, ns
 * @latency: from entry to return, ns
 * @ret: what it returned
 * @args: its arguments, as they were in the registers; of a 32-bit call their
 *	lower halves, which is what the kernel takes
 * @jiffies: when the record was made
 * @pid: thread group, in the initial PID namespace
 * @tid: thread, in the initial PID namespace
 * @ppid: thread group of the parent, in the initial PID namespace
 * @uid: real user id, in the initial user namespace
 * @call: id of the call
 * @cpu: where the record was made
 * @status: SCT_ALLOWED or SCT_BLOCKED
 * @flags: SCT_RETURNED and so on
 * @size: bytes of @data
 * @comm: name of the thread, as it chose it, with its terminator
 * @data: a row of struct sct_item
 */
struct sct_record {
	__u64 seq;
	__u64 clock;
	__u64 latency;
	__s64 ret;
	__u64 args[SCT_ARGS];
	__u64 jiffies;
	__u32 pid;
	__u32 tid;
	__u32 ppid;
	__u32 uid;
	__u16 call;
	__u16 cpu;
	__u8 status;
	__u8 flags;
	__u16 size;
	char comm[SCT_COMM_LEN];
	__u8 data[];
};

/**
 * struct sct_item - what an argument points to
 * @arg: index of the argument
 * @size: bytes of @data
 * @data: a path without its terminator, or a socket address; not aligned
 */
struct sct_item {
	__u16 arg;
	__u16 size;
	__u8 data[];
};

#endif /* SYSCALL_TRACER_RECORD_H */
