/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: a system call enters.
 *
 * Inline, for it is what each traced call costs.
 */
#ifndef SYSCALL_TRACER_ENTRY_H
#define SYSCALL_TRACER_ENTRY_H

#include <linux/bitops.h>
#include <linux/build_bug.h>
#include <linux/compat.h>
#include <linux/cred.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint-defs.h>
#include <asm/syscall.h>

#include "deliver.h"
#include "filter.h"
#include "hook.h"
#include "left_out.h"
#include "ring.h"

int sct_entry_fill(const struct sct_hook *hook, const struct pt_regs *regs,
		   struct sct_record *rec, size_t room);
int sct_entry_complete(const struct sct_hook *hook, struct sct_record *rec);
int sct_entry_exclude(const struct sct_hook *hook, const struct pt_regs *regs);
void sct_entry_capture(const struct sct_hook *hook, struct sct_record *rec,
		       size_t room);
void sct_entry_push(const struct sct_hook *hook, const struct sct_record *rec);

DECLARE_TRACEPOINT(syscall);

/* With preemption off this is a section of an RCU reader. */
static __always_inline const struct sct_filters *sct_entry_filters(void)
{
	return rcu_dereference_sched(sct_filters_active);
}

/*
 * Whether the kernel takes the lower halves of the registers only: of a 64-bit
 * program as well, by int 0x80. Not of x32, whose calls are 64-bit ones.
 */
static __always_inline bool sct_entry_is_32bit(struct task_struct *task)
{
#ifdef CONFIG_X86_64
	/* As in_ia32_syscall(), which looks for the task anew. */
	return IS_ENABLED(CONFIG_IA32_EMULATION) &&
	       task_thread_info(task)->status & TS_COMPAT;
#else
	return is_compat_task();
#endif
}

/* The upper halves may be anything, to have us look where the kernel does not. */
static __always_inline void sct_entry_narrow(struct sct_record *rec)
{
	unsigned int i;

	for (i = 0; i < SCT_ARGS; i++)
		rec->args[i] = (u32)rec->args[i];
}

/* Both at once where they lie side by side, though in the other order. */
static __always_inline void sct_entry_ids(struct task_struct *task,
					  struct sct_record *rec)
{
	const bool beside = offsetof(struct task_struct, tgid) ==
			    offsetof(struct task_struct, pid) + sizeof(u32);

	BUILD_BUG_ON(offsetof(struct sct_record, tid) !=
		     offsetof(struct sct_record, pid) + sizeof(u32));
	if (beside) {
		*(u64 *)&rec->pid = ror64(*(const u64 *)&task->pid, 32);
	} else {
		rec->pid = task_tgid_nr(task);
		rec->tid = task_pid_nr(task);
	}
}

/*
 * get_task_comm() takes a lock in older kernels, which sleeps on PREEMPT_RT;
 * the plain copy may mix two names when another thread is just changing it,
 * and has its terminator all the same, for that is there already.
 */
static __always_inline void
sct_entry_fill_plain(u16 call, const struct pt_regs *regs, u64 clock,
		     struct sct_record *rec)
{
	struct task_struct *task = current;
	bool is_32bit;

	BUILD_BUG_ON(sizeof(*rec) != 128 || SCT_COMM_LEN != TASK_COMM_LEN);
	rec->clock = clock;
	rec->latency = 0;
	rec->ret = 0;
	/* These three are stored as one. */
	rec->status = SCT_ALLOWED;
	rec->flags = 0;
	rec->size = 0;
	rec->call = call;
	/* The arguments ask the same: next to each other they ask once. */
	is_32bit = sct_entry_is_32bit(task);
	syscall_get_arguments(task, (struct pt_regs *)regs,
			      (unsigned long *)rec->args);
	if (unlikely(is_32bit)) {
		rec->flags = SCT_COMPAT;
		sct_entry_narrow(rec);
	}
	sct_entry_ids(task, rec);
	rec->ppid = task_tgid_nr(rcu_dereference_sched(task->real_parent));
	rec->uid = __kuid_val(rcu_dereference_protected(task->cred, 1)->uid);
	memcpy(rec->comm, task->comm, SCT_COMM_LEN - 1);
}

/**
 * sct_entry_done() - a record is filled: all who want it get it
 * @n: number of the record
 * @rec: from sct_ring_begin()
 *
 * Nothing is needed after one of the calls, so the usual way saves nothing.
 *
 * Context: As sct_ring_claim().
 */
static __always_inline void sct_entry_done(u64 n, const struct sct_record *rec)
{
	sct_ring_commit(n);
	/* It stays: only this CPU writes to the ring, and is still here. */
	if (tracepoint_enabled(syscall))
		sct_event_emit(rec);
	if (sct_deliver_wanted())
		sct_deliver_poke(this_cpu_read(sct_rings.head),
				 this_cpu_read(sct_rings.mask));
}

/* Whether there is more to do than to record a call. */
static __always_inline bool sct_entry_suspects(const struct sct_hook *hook,
					       const struct sct_record *rec)
{
	return hook->captures || sct_filters_suspect(sct_entry_filters(),
						     hook->call, rec);
}

/**
 * sct_entry_at() - a call has entered, and is recorded here and now
 * @hook: where
 * @regs: the registers of the caller
 * @clock: when
 *
 * Context: Any that belongs to the calling task, with preemption off.
 * Return: 0, or what the call is to return instead of running.
 */
static __always_inline int sct_entry_at(const struct sct_hook *hook,
					const struct pt_regs *regs, u64 clock)
{
	u64 n = this_cpu_read(sct_rings.head);
	struct sct_record *rec;

	if (sct_left_out())
		return sct_entry_exclude(hook, regs);
	this_cpu_inc(hook->counts->issued);
	if (!sct_ring_claim(n))
		return 0;
	rec = sct_ring_begin(n);
	sct_entry_fill_plain(hook->call, regs, clock, rec);
	/*
	 * Most calls are done now, and have cost no other function. It may change
	 * just now. READ_ONCE() would not compare in memory.
	 */
	if (unlikely(data_race(hook->examined)) &&
	    sct_entry_suspects(hook, rec))
		return sct_entry_complete(hook, rec);
	sct_entry_done(n, rec);
	return 0;
}

/**
 * sct_entry() - a call enters, and is recorded here and now
 * @hook: where
 * @regs: the registers of the caller
 *
 * Context: As sct_entry_at().
 * Return: As sct_entry_at().
 */
static __always_inline int sct_entry(const struct sct_hook *hook,
				     const struct pt_regs *regs)
{
	/* First, for then there is little yet to be kept in memory across it. */
	u64 clock = ktime_get_mono_fast_ns();

	return sct_entry_at(hook, regs, clock);
}

#endif /* SYSCALL_TRACER_ENTRY_H */
