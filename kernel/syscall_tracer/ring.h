/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: how a record gets into the ring of its CPU.
 *
 * Inline, for it is a good part of what a traced call costs.
 */
#ifndef SYSCALL_TRACER_RING_H
#define SYSCALL_TRACER_RING_H

#include <linux/jiffies.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/string.h>

#include "tracer.h"

/**
 * struct sct_ring - the newest records of one CPU
 * @slots: the records, sct_slot_size bytes each
 * @mask: how many there are, less one
 * @begin: records that were begun, the one under way included
 * @head: records that are complete
 * @dropped: calls that came while another one was under way
 * @excluded: calls that were left out; they are no part of the law
 *
 * Record number n lives in slot n & @mask until as many others are begun.
 * Only its own CPU writes to a ring, with preemption off. Each call that is counted
 * is begun or dropped, so their sum is the number of the next call.
 *
 * What is the same in all records of the log is in its slots from the beginning, and
 * is not written again: @cpu, and the terminator of @comm.
 *
 * The log is one such ring. What filters block is in another one, too, while
 * somebody listens to that alone: there it outlives a log that overflows.
 */
struct sct_ring {
	void *slots;
	size_t mask;
	u64 begin;
	u64 head;
	u64 dropped;
	u64 excluded;
};

DECLARE_PER_CPU(struct sct_ring, sct_rings);
DECLARE_PER_CPU(struct sct_ring, sct_blocked_rings);
extern size_t sct_slot_size;	/* bytes; a multiple of 8 */

size_t sct_ring_copy(const struct sct_ring *ring, u64 n, struct sct_record *to,
		     u64 *lost);
u64 sct_ring_keep_blocked(const struct sct_record *rec);

static __always_inline size_t sct_ring_size(const struct sct_ring *ring)
{
	return ring->mask + 1;
}

static inline struct sct_record *sct_ring_slot(const struct sct_ring *ring,
					       u64 n)
{
	return ring->slots + (n & ring->mask) * sct_slot_size;
}

/**
 * sct_ring_claim() - claim the next slot in the log of this CPU
 * @n: number of the record, which is @head of the ring
 *
 * Whoever moves @begin on from @head owns the slot. Should an NMI get in
 * between, then @begin has moved, and the interrupted call is dropped.
 *
 * Context: Any, NMI included, with preemption off. Does not wait.
 * Return: Whether the slot is ours, for sct_ring_begin(); else the call is
 * dropped, and counted.
 */
static __always_inline bool sct_ring_claim(u64 n)
{
	if (likely(this_cpu_cmpxchg(sct_rings.begin, n, n + 1) == n))
		return true;
	this_cpu_inc(sct_rings.dropped);
	return false;
}

/**
 * sct_ring_begin() - begin a record whose slot is claimed
 * @n: number of the record
 *
 * The ring is asked for by its fields, for its address would be one more thing to
 * find out and keep.
 *
 * Context: As sct_ring_claim().
 * Return: The record, for sct_ring_commit() on the same CPU before preemption is
 * on; its seq, jiffies, cpu and the terminator of its comm are set.
 */
static __always_inline struct sct_record *sct_ring_begin(u64 n)
{
	struct sct_record *rec;

	/* Announce before writing: pairs with smp_rmb() in lost_since(). */
	smp_wmb();
	rec = raw_cpu_read(sct_rings.slots) +
	      (n & raw_cpu_read(sct_rings.mask)) * sct_slot_size;
	rec->seq = n + raw_cpu_read(sct_rings.dropped);
	rec->jiffies = jiffies;
	return rec;
}

/**
 * sct_ring_commit() - complete a record
 * @n: number of the record
 *
 * Context: As sct_ring_claim().
 */
static __always_inline void sct_ring_commit(u64 n)
{
	/* Write before publishing: pairs with smp_load_acquire() of @head. */
	smp_wmb();
	this_cpu_write(sct_rings.head, n + 1);
}

#endif /* SYSCALL_TRACER_RING_H */
