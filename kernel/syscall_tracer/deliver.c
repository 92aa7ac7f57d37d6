// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delivery: records as they are made, to who listens to the netlink family.
 */
#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sizes.h>
#include <linux/skbuff.h>
#include <linux/workqueue.h>

#include "netlink.h"
#include "ring.h"

/**
 * DOC: delivery
 *
 * A worker looks ten times a second whether anybody has joined the group, and
 * sends what is new. While nobody has, that look is all there is: the probe
 * has a branch that is patched away. With listeners the probe also has the
 * worker woken at each quarter of a ring, by an irq_work: it must not wake
 * anybody itself.
 *
 * A listener hears of calls from the worker's next look on. Who asks for the
 * status after it has joined has made the worker look, and hears of all
 * calls since.
 *
 * Records are copied from the rings while these are written to, and never
 * waited for. What was overwritten before it was copied is counted as lost.
 * A listener that does not read loses messages, and nobody else does: each
 * socket has a buffer of its own, and the copies share their data.
 *
 * The worker makes no system calls. A listener's own calls may be traced, a
 * record for each batch at the most, of which ten a second come of themselves.
 */

#define PERIOD		(HZ / 10)

/* What is sent at once: with the skb's own part, an allocation of 32 KiB. */
#define BATCH_BYTES	(SKB_WITH_OVERHEAD(SZ_32K) - NLMSG_HDRLEN - GENL_HDRLEN)

/* The attributes of a batch, without its records. */
#define BATCH_HEAD	(2 * nla_total_size(sizeof(u32)) + NLA_HDRLEN)

/**
 * struct cursor - how far a ring has been sent
 * @next: number of the first record that is not
 * @lost: records that were overwritten, and are not yet owned up to
 */
struct cursor {
	u64 next;
	u64 lost;
};

static void deliver(struct work_struct *work);

DEFINE_STATIC_KEY_FALSE(sct_listening);
DEFINE_PER_CPU(struct irq_work, sct_deliver_wakes);

/* Guards the cursors and the two below. */
static DEFINE_MUTEX(deliver_lock);
static DEFINE_PER_CPU(struct cursor, cursors);
static bool running;
static bool listening;

static struct workqueue_struct *deliver_queue;
static DECLARE_DELAYED_WORK(deliver_work, deliver);

static void on_wake(struct irq_work *work)
{
	mod_delayed_work(deliver_queue, &deliver_work, 0);
}

/* Appends records to a message while there is room. */
static void append_records(struct sk_buff *skb, unsigned int cpu,
			   struct cursor *cursor, u64 head)
{
	while (cursor->next < head && skb_tailroom(skb) >= sct_slot_size) {
		u64 lost = 0;
		size_t size = sct_ring_copy(cpu, cursor->next,
					    (void *)skb_tail_pointer(skb),
					    &lost);

		skb_put(skb, size);
		cursor->lost += lost;
		cursor->next += lost ?: 1;
	}
}

static void send_batch(struct sk_buff *skb, unsigned int cpu,
		       struct cursor *cursor, u64 head)
{
	void *message = genlmsg_put(skb, 0, 0, &sct_family, 0, SCT_CMD_EVENT);
	struct nlattr *lost, *records;

	/* The message was made to have room for these. */
	nla_put_u32(skb, SCT_A_BATCH_CPU, cpu);
	lost = nla_reserve(skb, SCT_A_BATCH_LOST, sizeof(u32));
	records = nla_reserve(skb, SCT_A_BATCH_RECORDS, 0);
	append_records(skb, cpu, cursor, head);
	records->nla_len = skb_tail_pointer(skb) - (unsigned char *)records;
	*(u32 *)nla_data(lost) = min_t(u64, cursor->lost, U32_MAX);
	cursor->lost -= *(u32 *)nla_data(lost);
	genlmsg_end(skb, message);
	/* That some listener had no room for it is told to that one only. */
	genlmsg_multicast(&sct_family, skb, 0, SCT_NLGRP_EVENTS, GFP_KERNEL);
}

/* What is made meanwhile is left for the next time. */
static void send_ring(unsigned int cpu)
{
	u64 head = smp_load_acquire(&per_cpu(sct_rings, cpu).head);
	struct cursor *cursor = per_cpu_ptr(&cursors, cpu);

	while (cursor->next < head) {
		u64 wanted = BATCH_HEAD + (head - cursor->next) * sct_slot_size;
		size_t size = min_t(u64, wanted, BATCH_BYTES);
		struct sk_buff *skb = genlmsg_new(size, GFP_KERNEL);

		if (!skb)
			return;
		send_batch(skb, cpu, cursor, head);
	}
}

static void send_rings(void)
{
	unsigned int cpu;

	lockdep_assert_held(&deliver_lock);
	for_each_possible_cpu(cpu)
		send_ring(cpu);
}

/* Who listens hears of what is made from now on. */
static void begin(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		struct cursor *cursor = per_cpu_ptr(&cursors, cpu);

		cursor->next = smp_load_acquire(&per_cpu(sct_rings, cpu).head);
		cursor->lost = 0;
	}
	static_branch_enable(&sct_listening);
}

static void look(void)
{
	bool now = genl_has_listeners(&sct_family, &init_net, SCT_NLGRP_EVENTS);

	lockdep_assert_held(&deliver_lock);
	if (now && !listening)
		begin();
	else if (!now && listening)
		static_branch_disable(&sct_listening);
	listening = now;
}

static void deliver(struct work_struct *work)
{
	mutex_lock(&deliver_lock);
	if (running) {
		look();
		if (listening)
			send_rings();
		queue_delayed_work(deliver_queue, &deliver_work, PERIOD);
	}
	mutex_unlock(&deliver_lock);
}

/**
 * sct_deliver_look() - take notice of who has just joined the group
 *
 * Context: Process context, may sleep.
 */
void sct_deliver_look(void)
{
	mutex_lock(&deliver_lock);
	if (running)
		look();
	mutex_unlock(&deliver_lock);
}

/**
 * sct_deliver_init() - prepare the delivery
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sct_deliver_init(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		init_irq_work(per_cpu_ptr(&sct_deliver_wakes, cpu), on_wake);
	/* A ring at full speed is overwritten in milliseconds. */
	deliver_queue = alloc_workqueue(KBUILD_MODNAME,
					WQ_UNBOUND | WQ_HIGHPRI, 1);
	return deliver_queue ? 0 : -ENOMEM;
}

/**
 * sct_deliver_start() - begin to look for listeners
 *
 * Context: Process context, may sleep; the family is registered.
 */
void sct_deliver_start(void)
{
	mutex_lock(&deliver_lock);
	running = true;
	queue_delayed_work(deliver_queue, &deliver_work, PERIOD);
	mutex_unlock(&deliver_lock);
}

/**
 * sct_deliver_stop() - send a last time
 *
 * Context: Process context, may sleep; the family is still registered.
 */
void sct_deliver_stop(void)
{
	unsigned int cpu;

	mutex_lock(&deliver_lock);
	if (listening) {
		send_rings();
		static_branch_disable(&sct_listening);
	}
	listening = false;
	running = false;
	mutex_unlock(&deliver_lock);
	/* A probe may be just about to have the worker woken. */
	synchronize_rcu();
	for_each_possible_cpu(cpu)
		irq_work_sync(per_cpu_ptr(&sct_deliver_wakes, cpu));
	cancel_delayed_work_sync(&deliver_work);
}

/**
 * sct_deliver_exit() - free what the delivery has
 *
 * Context: Process context, may sleep; it has stopped.
 */
void sct_deliver_exit(void)
{
	destroy_workqueue(deliver_queue);
}
