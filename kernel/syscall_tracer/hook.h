/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: how the entry points of system calls are hooked.
 */
#ifndef SYSCALL_TRACER_HOOK_H
#define SYSCALL_TRACER_HOOK_H

#include <linux/errno.h>
#include <linux/kprobes.h>

#include "tracer.h"

#define SCT_CAPTURES	2	/* arguments that go into the data of a record */
#define SCT_HOOKS_MAX	(2 * SCT_CALLS_MAX)	/* native and compat */
#define SCT_CANARY	ECANCELED	/* what a canary returns that is caught */

/**
 * enum sct_hook_kind - what records the calls of an entry point
 * @SCT_HOOK_NONE: nothing
 * @SCT_HOOK_KPROBE: a kprobe
 * @SCT_HOOK_FTRACE: the module's own handler of ftrace
 * @SCT_HOOK_RETURN: a kretprobe
 * @SCT_HOOK_CANARY: no call, but that hooks work at all
 */
enum sct_hook_kind {
	SCT_HOOK_NONE,
	SCT_HOOK_KPROBE,
	SCT_HOOK_FTRACE,
	SCT_HOOK_RETURN,
	SCT_HOOK_CANARY,
};

/* Per CPU, because calls enter and return in parallel. */
struct sct_flight {
	u64 entered;
	u64 returned;
};

/**
 * struct sct_counts - calls of an entry point that were counted since load
 * @issued: all of them
 * @blocked: those that a filter blocks
 * @failed: those whose return was seen, and was an error
 *
 * Likewise per CPU. They count what the log counts, also what it drops.
 */
struct sct_counts {
	u64 issued;
	u64 blocked;
	u64 failed;
};

/**
 * struct sct_hook - an entry point of a system call
 * @kp: finds the entry point; hooks it if @kind says so
 * @rp: hooks entry and return if @kind says so
 * @retprobe_entry: the handler that kretprobes give to @rp
 * @addr: the entry point; 0 if the kernel has none
 * @ip: where ftrace has its call in it
 * @group: how ftrace holds it; NULL if it does not. See DOC: holding
 * @kind: what records its calls. Handlers of another kind leave them alone
 * @retiring: what recorded them, and is yet to be removed
 * @by_ftrace: kprobes on it go by ftrace, not by a breakpoint
 * @finding: @kp is registered to find @addr
 * @missed: what earlier registrations missed
 * @flight: calls that entered and returned through @rp
 * @counts: of its calls
 * @call: id of the call
 * @examined: whether its calls take a closer look: there is data to be read, or
 *	a filter is about them
 * @returns: whether the call comes back at all
 * @captures: how many of @capture there are
 * @capture: indices of the arguments that go into the data
 * @symbol: name of the entry point
 */
struct sct_hook {
	struct kprobe kp;
	struct kretprobe rp;
	kprobe_pre_handler_t retprobe_entry;
	unsigned long addr;
	unsigned long ip;
	struct sct_ftrace_group *group;
	enum sct_hook_kind kind;
	enum sct_hook_kind retiring;
	bool by_ftrace;
	bool finding;
	unsigned long missed;
	struct sct_flight __percpu *flight;
	struct sct_counts __percpu *counts;
	u16 call;
	bool examined;
	bool returns;
	u8 captures;
	struct {
		u8 arg;
		char kind;
	} capture[SCT_CAPTURES];
	char symbol[KSYM_NAME_LEN];
};

/* hook.c */
int sct_hooks_init(void);
void sct_hooks_exit(void);
int sct_hooks_arm(struct sct_hook **hooks, unsigned int n);
int sct_hooks_switch(struct sct_hook **hooks, unsigned int n);
void sct_hooks_want_returns(bool on);
bool sct_hooks_live(struct sct_hook **hooks, unsigned int n);
void sct_hooks_disarm(struct sct_hook **hooks, unsigned int n);
unsigned long sct_hook_missed(const struct sct_hook *hook);

#endif /* SYSCALL_TRACER_HOOK_H */
