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
 * struct sct_ring - the newest calls of one CPU
 * @slots: sct_ring_size records, sct_slot_size bytes each
 * @begin: records that were begun, the one under way included
 * @head: records that are complete
 * @issued: calls that were counted
 * @dropped: calls that came while another one was under way
 *
 * Record number n lives in slot n % sct_ring_size until record n + sct_ring_size is
 * begun. Only its own CPU writes to a ring, with preemption off. While @begin
 * and @head are equal the other counts are at rest.
 */
struct sct_ring {
	void *slots;
	u64 begin;
	u64 head;
	u64 issued;
	u64 dropped;
};

DECLARE_PER_CPU(struct sct_ring, sct_rings);
extern size_t sct_ring_size;	/* records */
extern size_t sct_slot_size;	/* bytes; a multiple of 8 */

size_t sct_ring_copy(unsigned int cpu, u64 n, struct sct_record *to, u64 *lost);

static inline struct sct_record *sct_ring_slot(const struct sct_ring *ring,
					       u64 n)
{
	return ring->slots + (n & (sct_ring_size - 1)) * sct_slot_size;
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
	this_cpu_inc(sct_rings.issued);
	this_cpu_inc(sct_rings.dropped);
	return false;
}

/**
 * sct_ring_begin() - begin a record whose slot is claimed
 * @ring: of this CPU
 * @n: number of the record
 *
 * Context: As sct_ring_claim().
 * Return: The record, for sct_ring_commit() on the same CPU before preemption is
 * on; its seq, jiffies and cpu are set.
 */
static __always_inline struct sct_record *sct_ring_begin(struct sct_ring *ring,
							 u64 n)
{
	struct sct_record *rec;

	/* Announce before writing: pairs with smp_rmb() in lost_since(). */
	smp_wmb();
	rec = sct_ring_slot(ring, n);
	rec->seq = this_cpu_inc_return(sct_rings.issued) - 1;
	rec->jiffies = jiffies;
	rec->cpu = smp_processor_id();
	return rec;
}

/**
 * sct_ring_commit() - complete a record
 * @ring: of this CPU
 * @n: number of the record
 *
 * Context: As sct_ring_claim().
 */
static __always_inline void sct_ring_commit(struct sct_ring *ring, u64 n)
{
	/* Write before publishing: pairs with sct_ring_stats(). */
	smp_store_release(&ring->head, n + 1);
}

#endif /* SYSCALL_TRACER_RING_H */
