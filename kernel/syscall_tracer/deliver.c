// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delivery: records as they are made, to who listens to the netlink family.
 */
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "deliver.h"
#include "netlink.h"
#include "ring.h"

/**
 * DOC: delivery
 *
 * While somebody listens, what is new is sent ten times a second. While nobody
 * does, the probe has a branch that is patched away, and nothing runs: the kernel
 * tells who joins the group. Older ones do not; there it is looked ten times a
 * second, but no idle CPU is woken for it. With listeners the probe has each
 * quarter of a ring sent at once. It must not wake anybody itself, so an irq_work
 * does.
 *
 * What that sends is a tasklet, on the CPU of the ring: no task goes before a
 * soft interrupt, of whatever class and priority. So a loop at full speed is
 * slowed down rather than overwriting what was not sent yet. A thread is no
 * match for it: since 6.12 a CPU gives its ordinary tasks a part of each second
 * before those of a real-time class (the fair server).
 * With PREEMPT_RT the irq_work has a thread, at the lowest real-time priority,
 * and that one sends. It may have to wait, for a lock that a listener holds, of
 * its queue say, and what fills the ring goes on: there a larger ring is what
 * helps.
 *
 * A listener hears of calls from the next look on. Who asks for the status
 * after it has joined has caused one, and hears of all calls since.
 *
 * Records are copied from the rings while these are written to, and never
 * waited for. What was overwritten before it was copied is counted as lost.
 * A listener that does not read loses messages, and nobody else does: each
 * socket has a buffer of its own, and the copies share their data. Where
 * nobody gets a batch, because nobody reads, or all who have joined the number
 * of the group are in other network namespaces, which anybody may, one batch
 * is tried ten times a second.
 *
 * A listener's own calls may be traced, a record for each batch at the most, of
 * which ten a second come of themselves.
 *
 * There are two channels, each with a group and rings of its own: all records, and
 * those of calls that a filter blocks. These are few, and are in both. So however
 * much the log overflows, a loop of something else pushes no block out.
 *
 * What is left in the ring of a CPU that goes offline is sent by who looks.
 *
 * Locks: look_lock guards whether there are listeners, and is taken first;
 * then the lock of a delivery, which guards how far its ring has been sent, and
 * is held for one batch.
 */

#define PERIOD		(HZ / 10)

/* In looks: who is about to join has joined by then, however busy the CPU is. */
#define PATIENCE	100

/* What is sent at once: with the skb's own part, an allocation of 32 KiB. */
#define BATCH_BYTES	(SKB_WITH_OVERHEAD(SZ_32K) - NLMSG_HDRLEN - GENL_HDRLEN)

/* Batches in a row of a soft interrupt: more than what has it sent comes to. */
#define BURST		(4 * SCT_POKE_BYTES / SZ_32K)

/* The attributes of a batch, before its records and behind them. */
#define BATCH_HEAD	(nla_total_size(sizeof(u32)) + NLA_HDRLEN)
#define BATCH_TAIL	(3 * nla_total_size(sizeof(u32)) + \
			 5 * nla_total_size_64bit(sizeof(u64)))

/* What is first is sent first. */
enum {
	CHANNEL_BLOCKED,
	CHANNEL_EVENTS,
	CHANNELS,
};

/**
 * struct channel - what a group is sent
 * @rings: where it is
 * @group: index of the group
 * @command: of its messages
 * @key: whether the probe is to say that there is more
 * @listening: somebody has joined the group
 */
struct channel {
	struct sct_ring __percpu *rings;
	unsigned int group;
	u8 command;
	struct static_key_false *key;
	bool listening;
};

/**
 * struct delivery - how far the ring of a CPU has been sent
 * @sends: sends what is new
 * @channel: where it is sent to
 * @ring: what is sent
 * @cpu: whose ring it is
 * @lock: guards what follows
 * @listening: somebody is to be sent to
 * @unheard: nobody got the last batch
 * @next: number of the first record that was not sent
 * @lost: records that were overwritten, and were not yet owned up to
 */
struct delivery {
	struct tasklet_struct sends;
	const struct channel *channel;
	const struct sct_ring *ring;
	unsigned int cpu;
	spinlock_t lock; /* guards what follows */
	bool listening;
	bool unheard;
	u64 next;
	u64 lost;
};

/**
 * struct batch - what is told of the records of a message
 * @number: how many records there were before the first one
 * @count: how many there are; the rest is 0 if there is none
 * @first_seq: number of the first one
 * @last_seq: number of the last one
 * @first_clock: the earliest of their clocks
 * @last_clock: the latest of them
 */
struct batch {
	u64 number;
	u32 count;
	u64 first_seq;
	u64 last_seq;
	u64 first_clock;
	u64 last_clock;
};

static void look_again(struct work_struct *work);

DEFINE_STATIC_KEY_FALSE(sct_listening);
DEFINE_STATIC_KEY_FALSE(sct_listening_blocked);
DEFINE_PER_CPU(struct irq_work, sct_deliver_wakes);
size_t sct_poke_mask __read_mostly;

/* Guarded by look_lock, as far as they change. */
static struct channel channels[CHANNELS] = {
	[CHANNEL_BLOCKED] = {
		.rings	= &sct_blocked_rings,
		.group	= SCT_NLGRP_BLOCKED,
		.command	= SCT_CMD_BLOCKED,
		.key	= &sct_listening_blocked,
	},
	[CHANNEL_EVENTS] = {
		.rings	= &sct_rings,
		.group	= SCT_NLGRP_EVENTS,
		.command	= SCT_CMD_EVENT,
		.key	= &sct_listening,
	},
};

static DEFINE_PER_CPU(struct delivery [CHANNELS], deliveries);

static DEFINE_MUTEX(look_lock);
static DECLARE_DELAYED_WORK(send_work, look_again);
static DECLARE_DEFERRABLE_WORK(idle_work, look_again);
static struct genl_family *carrier;
static bool running;
static unsigned int expecting; /* looks for who is about to join */

static struct delivery *delivery_of(unsigned int cpu, unsigned int channel)
{
	return &per_cpu(deliveries, cpu)[channel];
}

/* What a batch of some records takes at most. */
static u64 batch_bytes(u64 count)
{
	return BATCH_HEAD + BATCH_TAIL + count * sct_slot_size;
}

/* Takes note of a record that follows those that are noted. */
static void note(struct batch *batch, const struct sct_record *rec, u64 number)
{
	if (!batch->count++) {
		batch->number = number;
		batch->first_seq = rec->seq;
		batch->first_clock = rec->clock;
	}
	batch->last_seq = rec->seq;
	/* Of calls that were recorded at their return any may have come first. */
	batch->first_clock = min(batch->first_clock, rec->clock);
	batch->last_clock = max(batch->last_clock, rec->clock);
}

/* Appends records to a message while there is room. */
static void append_records(struct sk_buff *skb, struct delivery *delivery,
			   u64 head, struct batch *batch)
{
	size_t room = sct_slot_size + BATCH_TAIL;

	while (delivery->next < head && skb_tailroom(skb) >= room) {
		struct sct_record *rec = (void *)skb_tail_pointer(skb);
		u64 lost = 0;
		size_t size = sct_ring_copy(delivery->ring, delivery->next, rec,
					    &lost);

		if (size)
			note(batch, rec, delivery->next);
		skb_put(skb, size);
		delivery->lost += lost;
		delivery->next += lost ?: 1;
	}
}

static void put_u64(struct sk_buff *skb, int type, u64 value)
{
	nla_put_u64_64bit(skb, type, value, SCT_A_BATCH_PAD);
}

/* What there is room for, for append_records() has left it. */
static void put_batch(struct sk_buff *skb, struct delivery *delivery,
		      const struct batch *batch)
{
	u32 lost = min_t(u64, delivery->lost, U32_MAX);

	nla_put_u32(skb, SCT_A_BATCH_LOST, lost);
	delivery->lost -= lost;
	nla_put_u32(skb, SCT_A_BATCH_COUNT, batch->count);
	put_u64(skb, SCT_A_BATCH_FIRST_SEQ, batch->first_seq);
	put_u64(skb, SCT_A_BATCH_LAST_SEQ, batch->last_seq);
	put_u64(skb, SCT_A_BATCH_FIRST_CLOCK, batch->first_clock);
	put_u64(skb, SCT_A_BATCH_LAST_CLOCK, batch->last_clock);
	put_u64(skb, SCT_A_BATCH_NUMBER, batch->number);
	/* Behind the records: it is not older than any of them. */
	nla_put_u32(skb, SCT_A_BATCH_GENERATION, sct_generation());
}

static void send_batch(struct sk_buff *skb, struct delivery *delivery, u64 head)
{
	const struct channel *channel = delivery->channel;
	void *message = genlmsg_put(skb, 0, 0, carrier, 0, channel->command);
	struct batch batch = {};
	struct nlattr *records;
	int err;

	/* The message was made to have room for these. */
	nla_put_u32(skb, SCT_A_BATCH_CPU, delivery->cpu);
	records = nla_reserve(skb, SCT_A_BATCH_RECORDS, 0);
	append_records(skb, delivery, head, &batch);
	records->nla_len = skb_tail_pointer(skb) - (unsigned char *)records;
	put_batch(skb, delivery, &batch);
	genlmsg_end(skb, message);
	/* That some listener had no room for it is told to that one only. */
	err = genlmsg_multicast(carrier, skb, 0, channel->group, GFP_ATOMIC);
	WRITE_ONCE(delivery->unheard, err == -ESRCH);
}

static u64 ring_head(const struct delivery *delivery)
{
	/* Pairs with smp_wmb() in sct_ring_commit(). */
	return smp_load_acquire(&delivery->ring->head);
}

/* With room for some records; for a page of them where memory is short. */
static struct sk_buff *new_batch(u64 count)
{
	size_t least = max_t(size_t, GENLMSG_DEFAULT_SIZE, batch_bytes(1));
	size_t size = min_t(u64, batch_bytes(count), BATCH_BYTES);
	struct sk_buff *skb = genlmsg_new(size, GFP_ATOMIC | __GFP_NOWARN);

	if (skb || size <= least)
		return skb;
	return genlmsg_new(least, GFP_ATOMIC | __GFP_NOWARN);
}

static bool send_next(struct delivery *delivery, u64 head)
{
	struct sk_buff *skb;

	lockdep_assert_held(&delivery->lock);
	if (!delivery->listening || delivery->next >= head)
		return false;
	skb = new_batch(head - delivery->next);
	if (!skb)
		return false;
	send_batch(skb, delivery, head);
	return !delivery->unheard;
}

/* Sends a batch of what is before @head. Returns whether there may be more. */
static bool deliver(struct delivery *delivery, u64 head)
{
	bool more;

	spin_lock_bh(&delivery->lock);
	more = send_next(delivery, head);
	spin_unlock_bh(&delivery->lock);
	return more;
}

/* What is made meanwhile is left for the next time. */
static void deliver_all(struct delivery *delivery)
{
	u64 head = ring_head(delivery);

	while (deliver(delivery, head))
		cond_resched();
}

static void deliver_some(struct delivery *delivery)
{
	u64 head = ring_head(delivery);
	unsigned int left = BURST;

	while (left-- && deliver(delivery, head))
		;
}

static void on_new(struct tasklet_struct *tasklet)
{
	deliver_some(container_of(tasklet, struct delivery, sends));
}

static void on_wake(struct irq_work *work)
{
	unsigned int i;

	for (i = 0; i < CHANNELS; i++) {
		struct delivery *delivery = delivery_of(smp_processor_id(), i);

		if (READ_ONCE(delivery->unheard))
			continue;
		if (IS_ENABLED(CONFIG_PREEMPT_RT))
			deliver_some(delivery);
		else
			tasklet_schedule(&delivery->sends);
	}
}

/* Who listens hears of what is made from now on. */
static void begin_here(struct delivery *delivery)
{
	lockdep_assert_held(&delivery->lock);
	delivery->next = ring_head(delivery);
	delivery->lost = 0;
	WRITE_ONCE(delivery->unheard, false);
}

static void switch_ring(struct delivery *delivery, bool on)
{
	spin_lock_bh(&delivery->lock);
	begin_here(delivery);
	delivery->listening = on;
	spin_unlock_bh(&delivery->lock);
}

/*
 * Where nobody got the last batch, who has come since begins here. A batch that
 * went out before who has come did, and whose fate is not known yet, is waited
 * for: the lock is held while it is on its way.
 */
static void forget_unheard(const struct channel *channel)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		struct delivery *delivery = delivery_of(cpu, channel - channels);

		spin_lock_bh(&delivery->lock);
		if (delivery->unheard)
			begin_here(delivery);
		spin_unlock_bh(&delivery->lock);
	}
}

static void look_at(struct channel *channel)
{
	bool now = genl_has_listeners(carrier, &init_net, channel->group);
	unsigned int cpu;

	if (now == channel->listening) {
		if (now)
			forget_unheard(channel);
		return;
	}
	channel->listening = now;
	for_each_possible_cpu(cpu)
		switch_ring(delivery_of(cpu, channel - channels), now);
	if (now)
		static_branch_enable(channel->key);
	else
		static_branch_disable(channel->key);
}

static void look(void)
{
	unsigned int i;

	lockdep_assert_held(&look_lock);
	for (i = 0; i < CHANNELS; i++)
		look_at(&channels[i]);
}

static bool anybody_listens(void)
{
	unsigned int i;

	lockdep_assert_held(&look_lock);
	for (i = 0; i < CHANNELS; i++)
		if (channels[i].listening)
			return true;
	return false;
}

static void deliver_everywhere(void)
{
	unsigned int cpu, i;

	lockdep_assert_held(&look_lock);
	for_each_possible_cpu(cpu)
		for (i = 0; i < CHANNELS; i++)
			if (channels[i].listening)
				deliver_all(delivery_of(cpu, i));
}

/* Until somebody joins, if the kernel will tell; else until the next look. */
static void look_later(void)
{
	lockdep_assert_held(&look_lock);
	if (anybody_listens() || expecting)
		schedule_delayed_work(&send_work, PERIOD);
	else if (!COMPAT_TELLS_OF_JOINING)
		schedule_delayed_work(&idle_work, PERIOD);
}

static void look_again(struct work_struct *work)
{
	mutex_lock(&look_lock);
	if (running) {
		look();
		deliver_everywhere();
		if (expecting)
			expecting--;
		look_later();
	}
	mutex_unlock(&look_lock);
}

/**
 * sct_deliver_look() - take notice of who has just joined a group
 *
 * Context: Process context, may sleep.
 */
void sct_deliver_look(void)
{
	mutex_lock(&look_lock);
	if (running) {
		look();
		look_later();
	}
	mutex_unlock(&look_lock);
}

/**
 * sct_deliver_joins() - somebody is about to join a group
 *
 * Context: Process context, may sleep.
 */
void sct_deliver_joins(void)
{
	mutex_lock(&look_lock);
	expecting = PATIENCE;
	if (running)
		mod_delayed_work(system_wq, &send_work, 1);
	mutex_unlock(&look_lock);
}

static void init_deliveries(unsigned int cpu)
{
	unsigned int i;

	for (i = 0; i < CHANNELS; i++) {
		struct delivery *delivery = delivery_of(cpu, i);

		spin_lock_init(&delivery->lock);
		tasklet_setup(&delivery->sends, on_new);
		delivery->cpu = cpu;
		delivery->channel = &channels[i];
		delivery->ring = per_cpu_ptr(channels[i].rings, cpu);
	}
}

/**
 * sct_deliver_init() - prepare the delivery
 * @to: the family whose groups are sent to
 *
 * Context: Process context.
 */
void sct_deliver_init(struct genl_family *to)
{
	unsigned int cpu;

	carrier = to;
	sct_poke_mask = rounddown_pow_of_two(SCT_POKE_BYTES / sct_slot_size) - 1;
	for_each_possible_cpu(cpu) {
		init_deliveries(cpu);
		init_irq_work(per_cpu_ptr(&sct_deliver_wakes, cpu), on_wake);
	}
}

/**
 * sct_deliver_start() - begin to look for listeners
 *
 * Context: Process context, may sleep; the family is registered.
 */
void sct_deliver_start(void)
{
	mutex_lock(&look_lock);
	running = true;
	look_later();
	mutex_unlock(&look_lock);
}

/**
 * sct_deliver_stop() - send a last time
 *
 * Context: Process context, may sleep; the family is still registered.
 */
void sct_deliver_stop(void)
{
	unsigned int cpu, i;

	mutex_lock(&look_lock);
	running = false;
	static_branch_disable(&sct_listening);
	static_branch_disable(&sct_listening_blocked);
	mutex_unlock(&look_lock);
	cancel_delayed_work_sync(&send_work);
	cancel_delayed_work_sync(&idle_work);
	/* A probe may be just about to have a thread woken. */
	synchronize_rcu();
	for_each_possible_cpu(cpu) {
		irq_work_sync(per_cpu_ptr(&sct_deliver_wakes, cpu));
		for (i = 0; i < CHANNELS; i++) {
			struct delivery *delivery = delivery_of(cpu, i);

			tasklet_kill(&delivery->sends);
			deliver_all(delivery);
			switch_ring(delivery, false);
		}
	}
}
