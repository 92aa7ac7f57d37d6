// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delivery: records as they are made, to who listens to the netlink family.
 */
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/topology.h>
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
 * The thread runs on the CPU of the ring, at the lowest real-time priority, so
 * before what fills it: a loop at full speed is slowed down rather than
 * overwriting what was not sent yet. It has no more to do than that made. With
 * PREEMPT_RT it may have to sleep for a lock that a listener holds, of its queue
 * say, and what fills the ring goes on: there a larger ring is what helps.
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
 * The threads make no system calls. A listener's own calls may be traced, a
 * record for each batch at the most, of which ten a second come of themselves.
 *
 * There are two channels, each with a group and rings of its own: all records, and
 * those of calls that a filter blocks. These are few, and are in both. So however
 * much the log overflows, a loop of something else pushes no block out.
 *
 * A CPU that goes offline takes its thread along. What is left in its ring is
 * sent by who looks.
 *
 * Locks: look_lock guards whether there are listeners, and is taken first;
 * then the lock of a delivery, which guards how far its ring has been sent. The
 * lock of the threads is taken below any of them, and from an interrupt.
 */

#define PERIOD		(HZ / 10)

/* In looks: who is about to join has joined by then, however busy the CPU is. */
#define PATIENCE	100

/* What is sent at once: with the skb's own part, an allocation of 32 KiB. */
#define BATCH_BYTES	(SKB_WITH_OVERHEAD(SZ_32K) - NLMSG_HDRLEN - GENL_HDRLEN)

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
 * @wanted: there is something to send
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
	bool wanted;
	const struct channel *channel;
	const struct sct_ring *ring;
	unsigned int cpu;
	struct mutex lock; /* guards what follows */
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
static DEFINE_PER_CPU(struct task_struct *, deliver_threads);

/* Guards deliver_threads: who wakes one must not find it gone. */
static DEFINE_RAW_SPINLOCK(threads_lock);

static DEFINE_MUTEX(look_lock);
static DECLARE_DELAYED_WORK(send_work, look_again);
static DECLARE_DEFERRABLE_WORK(idle_work, look_again);
static struct genl_family *carrier;
static enum cpuhp_state hotplug;
static bool running;
static unsigned int expecting; /* looks for who is about to join */

static struct delivery *delivery_of(unsigned int cpu, unsigned int channel)
{
	return &per_cpu(deliveries, cpu)[channel];
}

/* A CPU that is offline has no thread. */
static bool wake_thread(struct delivery *delivery)
{
	struct task_struct *thread;
	unsigned long flags;

	raw_spin_lock_irqsave(&threads_lock, flags);
	thread = per_cpu(deliver_threads, delivery->cpu);
	if (thread) {
		WRITE_ONCE(delivery->wanted, true);
		wake_up_process(thread);
	}
	raw_spin_unlock_irqrestore(&threads_lock, flags);
	return thread;
}

/* Returns the thread there was. */
static struct task_struct *set_thread(unsigned int cpu,
				      struct task_struct *thread)
{
	raw_spin_lock_irq(&threads_lock);
	swap(per_cpu(deliver_threads, cpu), thread);
	raw_spin_unlock_irq(&threads_lock);
	return thread;
}

static void on_wake(struct irq_work *work)
{
	unsigned int i;

	for (i = 0; i < CHANNELS; i++) {
		struct delivery *delivery = delivery_of(smp_processor_id(), i);

		if (!READ_ONCE(delivery->unheard))
			wake_thread(delivery);
	}
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
	err = genlmsg_multicast(carrier, skb, 0, channel->group, GFP_KERNEL);
	WRITE_ONCE(delivery->unheard, err == -ESRCH);
}

static u64 ring_head(const struct delivery *delivery)
{
	/* Pairs with smp_wmb() in sct_ring_commit(). */
	return smp_load_acquire(&delivery->ring->head);
}

/* What is made meanwhile is left for the next time. */
static void send_ring(struct delivery *delivery)
{
	u64 head = ring_head(delivery);

	lockdep_assert_held(&delivery->lock);
	while (delivery->next < head) {
		u64 wanted = BATCH_HEAD + BATCH_TAIL +
			     (head - delivery->next) * sct_slot_size;
		size_t size = min_t(u64, wanted, BATCH_BYTES);
		struct sk_buff *skb = genlmsg_new(size, GFP_KERNEL);

		if (!skb)
			return;
		send_batch(skb, delivery, head);
		if (delivery->unheard)
			return;
	}
}

static void deliver(struct delivery *delivery)
{
	WRITE_ONCE(delivery->wanted, false);
	mutex_lock(&delivery->lock);
	if (delivery->listening)
		send_ring(delivery);
	mutex_unlock(&delivery->lock);
}

static struct delivery *wanted_of(unsigned int cpu)
{
	unsigned int i;

	for (i = 0; i < CHANNELS; i++)
		if (READ_ONCE(delivery_of(cpu, i)->wanted))
			return delivery_of(cpu, i);
	return NULL;
}

static int deliver_loop(void *data)
{
	unsigned int cpu = (unsigned long)data;
	struct delivery *delivery;

	while (!kthread_should_stop()) {
		set_current_state(TASK_INTERRUPTIBLE);
		delivery = wanted_of(cpu);
		if (!delivery && !kthread_should_stop())
			schedule();
		__set_current_state(TASK_RUNNING);
		if (delivery)
			deliver(delivery);
	}
	return 0;
}

static int on_online(unsigned int cpu)
{
	struct task_struct *thread;

	thread = kthread_create_on_node(deliver_loop, (void *)(long)cpu,
					cpu_to_node(cpu), "syscall_trc/%u",
					cpu);
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	kthread_bind(thread, cpu);
	sched_set_fifo_low(thread);
	set_thread(cpu, thread);
	wake_up_process(thread);
	return 0;
}

static int on_offline(unsigned int cpu)
{
	struct task_struct *thread = set_thread(cpu, NULL);

	if (thread)
		kthread_stop(thread);
	return 0;
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
	mutex_lock(&delivery->lock);
	begin_here(delivery);
	delivery->listening = on;
	mutex_unlock(&delivery->lock);
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

		mutex_lock(&delivery->lock);
		if (delivery->unheard)
			begin_here(delivery);
		mutex_unlock(&delivery->lock);
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

static void deliver_new(struct delivery *delivery)
{
	if (!delivery->channel->listening ||
	    READ_ONCE(delivery->next) == ring_head(delivery))
		return;
	if (!wake_thread(delivery))
		deliver(delivery);
}

static void deliver_all(void)
{
	unsigned int cpu, i;

	lockdep_assert_held(&look_lock);
	for_each_possible_cpu(cpu)
		for (i = 0; i < CHANNELS; i++)
			deliver_new(delivery_of(cpu, i));
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
		deliver_all();
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

		mutex_init(&delivery->lock);
		delivery->cpu = cpu;
		delivery->channel = &channels[i];
		delivery->ring = per_cpu_ptr(channels[i].rings, cpu);
	}
}

/**
 * sct_deliver_init() - prepare the delivery
 * @to: the family whose groups are sent to
 *
 * Context: Process context, may sleep.
 * Return: 0, or why there can be no thread.
 */
int sct_deliver_init(struct genl_family *to)
{
	unsigned int cpu;
	int state;

	carrier = to;
	for_each_possible_cpu(cpu) {
		init_deliveries(cpu);
		init_irq_work(per_cpu_ptr(&sct_deliver_wakes, cpu), on_wake);
	}
	state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "syscall_tracer:online",
				  on_online, on_offline);
	if (state < 0)
		return state;
	hotplug = state;
	return 0;
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
			deliver(delivery_of(cpu, i));
			switch_ring(delivery_of(cpu, i), false);
		}
	}
}

/**
 * sct_deliver_exit() - free what the delivery has
 *
 * Context: Process context, may sleep; it has stopped.
 */
void sct_deliver_exit(void)
{
	cpuhp_remove_state(hotplug);
}
