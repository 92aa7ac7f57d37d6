/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: how the delivery of records hears of new ones.
 */
#ifndef SYSCALL_TRACER_DELIVER_H
#define SYSCALL_TRACER_DELIVER_H

#include <linux/irq_work.h>
#include <linux/jump_label.h>
#include <linux/minmax.h>
#include <linux/percpu.h>
#include <linux/sizes.h>
#include <linux/types.h>

DECLARE_STATIC_KEY_FALSE(sct_listening);
DECLARE_STATIC_KEY_FALSE(sct_listening_blocked);
DECLARE_PER_CPU(struct irq_work, sct_deliver_wakes);

/* What a soft interrupt is to send at once, of a ring however large. */
#define SCT_POKE_BYTES	(8 * SZ_32K)

extern size_t sct_poke_mask;

/**
 * sct_deliver_wanted() - whether anybody listens
 *
 * Context: Any.
 */
static __always_inline bool sct_deliver_wanted(void)
{
	return static_branch_unlikely(&sct_listening);
}

/**
 * sct_deliver_wants_blocked() - whether anybody listens to what filters block
 *
 * Context: Any.
 */
static __always_inline bool sct_deliver_wants_blocked(void)
{
	return static_branch_unlikely(&sct_listening_blocked);
}

/**
 * sct_deliver_poke() - a record is complete, and somebody listens
 * @head: of the ring
 * @mask: of the ring
 *
 * Each quarter of a ring is delivered at once, of a large one SCT_POKE_BYTES,
 * the rest when its time comes.
 * Nothing is woken from here, for this may be anywhere: an interrupt of its own
 * does it.
 *
 * Context: Any, NMI included, with preemption off.
 */
static __always_inline void sct_deliver_poke(u64 head, size_t mask)
{
	if (!(head & min(mask / 4, sct_poke_mask)))
		irq_work_queue(this_cpu_ptr(&sct_deliver_wakes));
}

#endif /* SYSCALL_TRACER_DELIVER_H */
