// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who has ended: of the last processes that did, what each one was and had used.
 * Who lives for less than the time between two looks is seen here all the same.
 *
 * They are in a ring, by their number: the first one that ended since the module
 * was loaded has 1. Numbers have no gaps, so a reader knows what it has missed.
 */
#include <linux/cred.h>
#include <linux/errno.h>
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <trace/events/sched.h>

#include "lister.h"

#define ENDED_MAX	65536

static unsigned int ended = 4096;
module_param(ended, uint, 0444);
MODULE_PARM_DESC(ended, "ended processes that are remembered, 0 to 65536");

/**
 * struct ended - one that has ended
 * @same: in a chain of those whose identities have the same hash, if it may come
 *	  again
 * @values: what it was
 */
struct ended {
	struct hlist_node same;
	struct tl_values values;
};

static DEFINE_RAW_SPINLOCK(ring_lock);
static struct ended *ring;
static struct hlist_head *chains;
static unsigned int chain_bits;
static u64 ends;	/* how many there were */
static struct tracepoint *tracepoint;

/*
 * Only who had threads may come twice, for these may end at the same time. One
 * that is not in the list any more has raised the sequence before it left, as
 * has a child that was waited for: then it is looked for in vain.
 */
static bool may_come_twice(struct task_struct *task)
{
	if (COMPAT_ENDS_ONCE)
		return false;
	if (!thread_group_empty(task))
		return true;
	/* Pairs with the write side of stats_lock in __exit_signal(). */
	smp_rmb();
	return tl_sums_sequence(task);
}

static u64 oldest(void)
{
	return ends > ended ? ends - ended + 1 : 1;
}

static struct hlist_head *chain_of(const struct tl_values *v)
{
	return &chains[hash_64(v->number[TL_ID], chain_bits)];
}

/* The place of a process that is in the ring already, or NULL. */
static struct ended *find_ended(const struct tl_values *v)
{
	struct ended *one;

	hlist_for_each_entry(one, chain_of(v), same)
		if (one->values.number[TL_ID] == v->number[TL_ID])
			return one;
	return NULL;
}

static void put(struct ended *one, const struct tl_values *v, u64 number)
{
	one->values = *v;
	one->values.number[TL_EXIT] = number;
	one->values.known |= BIT_ULL(TL_EXIT);
}

static void add_ended(const struct tl_values *v, bool may_come_again)
{
	struct ended *one = &ring[++ends % ended];

	hlist_del_init(&one->same);
	put(one, v, ends);
	if (may_come_again)
		hlist_add_head(&one->same, chain_of(v));
}

/* Who comes again was longer alive, if what it says is not older. */
static void keep(const struct tl_values *v, bool may_come_twice)
{
	struct ended *one;

	raw_spin_lock(&ring_lock);
	one = may_come_twice ? find_ended(v) : NULL;
	if (!one)
		add_ended(v, may_come_twice);
	else if (one->values.number[TL_END] <= v->number[TL_END])
		put(one, v, one->values.number[TL_EXIT]);
	raw_spin_unlock(&ring_lock);
}

/*
 * Called by each thread that ends. Those of a process count down first, so that
 * the last one, and whoever has not come here yet by then, sees that none lives.
 */
static void compat_exit_probe(thread_ended)
{
	struct tl_values values;

	if (!compat_group_dead(task))
		return;
	tl_values_ended(&values, task);
	keep(&values, may_come_twice(task));
}

/* Modules may use any tracepoint, but have to look for most of them. */
static void is_it(struct tracepoint *tp, void *data)
{
	if (!strcmp(tp->name, "sched_process_exit"))
		tracepoint = tp;
}

static int hear(void)
{
	check_trace_callback_type_sched_process_exit(thread_ended);
	for_each_kernel_tracepoint(is_it, NULL);
	if (!tracepoint)
		return -ENOENT;
	return tracepoint_probe_register(tracepoint, thread_ended, NULL);
}

/**
 * tl_ended_begin() - remember who ends from now on
 *
 * Context: Process context, may sleep.
 * Return: 0, also where the kernel tells of no end, which is said in its log;
 * -EINVAL: the parameter is out of bounds; -ENOMEM.
 */
int tl_ended_begin(void)
{
	int err;

	if (ended > ENDED_MAX) {
		pr_err(KBUILD_MODNAME ": ended must be 0 to %d\n", ENDED_MAX);
		return -EINVAL;
	}
	if (!ended)
		return 0;
	chain_bits = order_base_2(ended) ?: 1;
	ring = kvcalloc(ended, sizeof(*ring), GFP_KERNEL);
	chains = kvcalloc(1 << chain_bits, sizeof(*chains), GFP_KERNEL);
	err = ring && chains ? hear() : -ENOMEM;
	if (!err)
		return 0;
	tracepoint = NULL;
	tl_ended_stop();
	if (err == -ENOMEM)
		return err;
	pr_warn(KBUILD_MODNAME ": who ends is not remembered: no sched_process_exit (%d)\n", err);
	return 0;
}

/**
 * tl_ended_stop() - forget who has ended
 *
 * Context: Process context, may sleep; nobody reads any more.
 */
void tl_ended_stop(void)
{
	if (tracepoint) {
		tracepoint_probe_unregister(tracepoint, thread_ended, NULL);
		tracepoint_synchronize_unregister();
	}
	kvfree(ring);
	kvfree(chains);
	ring = NULL;
	chains = NULL;
}

/**
 * tl_ended_refused() - why this reader cannot see who has ended
 * @cursor: of the open file
 * @err: set to the errno, negative
 *
 * Who has ended has no number any more but that of the initial namespace.
 *
 * Context: Any.
 * Return: the reason, or NULL: it can.
 */
const char *tl_ended_refused(const struct tl_cursor *cursor, int *err)
{
	if (!tracepoint) {
		*err = -EOPNOTSUPP;
		return "who ends is not remembered";
	}
	if (cursor->ns != &init_pid_ns) {
		*err = -EPERM;
		return "only the initial PID namespace sees who has ended";
	}
	return NULL;
}

/**
 * tl_ended_look() - a pass of who has ended begins
 * @cursor: of the open file; has a selection of them
 *
 * Who asks for all has missed nobody: it is told of those that are remembered.
 *
 * Context: Process context.
 */
void tl_ended_look(struct tl_cursor *cursor)
{
	cursor->missed = 0;
	raw_spin_lock(&ring_lock);
	cursor->from = cursor->selection->ended ?: oldest();
	cursor->until = ends;
	raw_spin_unlock(&ring_lock);
}

/* Ids were kept as the initial user namespace has them. */
static void translate(struct tl_values *v, struct user_namespace *user_ns)
{
	static const u8 users[] = { TL_UID, TL_EUID }, groups[] = { TL_GID, TL_EGID };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(users); i++) {
		u64 *user = &v->number[users[i]], *group = &v->number[groups[i]];

		*user = from_kuid_munged(user_ns, KUIDT_INIT(*user));
		*group = from_kgid_munged(user_ns, KGIDT_INIT(*group));
	}
}

/**
 * tl_ended_next() - find the next one that has ended
 * @cursor: of the open file; its @ended is set
 * @number: the least that is of interest; set to that of the one found
 *
 * Context: Process context.
 * Return: whether there is one, up to the last one of this pass.
 */
bool tl_ended_next(struct tl_cursor *cursor, u64 *number)
{
	u64 first;
	bool found;

	raw_spin_lock(&ring_lock);
	first = min(oldest(), cursor->until + 1);
	if (*number < first) {
		cursor->missed += first - *number;
		*number = first;
	}
	found = *number <= cursor->until;
	if (found)
		cursor->ended = ring[*number % ended].values;
	raw_spin_unlock(&ring_lock);
	if (found)
		translate(&cursor->ended, cursor->user_ns);
	return found;
}
