// SPDX-License-Identifier: GPL-2.0-only
/*
 * The log: a ring of records per CPU, and pictures of all of them.
 */
#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>

#include "ring.h"

#define SPARE_ROWS	256	/* for calls made while a picture is prepared */
#define TAKES		4	/* attempts at a picture that lost little */
#define BREATH		4096	/* rows between two chances to reschedule */
#define BLOCKED		256	/* records of calls that a filter blocks */

/**
 * struct sct_run - the part of a picture that comes from one CPU
 * @recs: the copied records, sct_slot_size bytes each
 * @room: how many fit into @recs
 * @next: the first one that is not merged yet
 * @count: end of the valid ones
 * @head: of the ring, when the picture was taken
 */
struct sct_run {
	void *recs;
	size_t room;
	size_t next;
	size_t count;
	u64 head;
};

DEFINE_PER_CPU(struct sct_ring, sct_rings);
DEFINE_PER_CPU(struct sct_ring, sct_blocked_rings);
size_t sct_slot_size __read_mostly;

static struct sct_record *run_rec(const struct sct_run *run, size_t i)
{
	return run->recs + i * sct_slot_size;
}

/**
 * sct_ring_stats() - the counts of one CPU
 * @cpu: which one
 * @stats: gets them, as of one moment
 *
 * Context: Any but the probe's.
 */
void sct_ring_stats(unsigned int cpu, struct sct_ring_stats *stats)
{
	const struct sct_ring *ring = per_cpu_ptr(&sct_rings, cpu);
	u64 head;

	for (;;) {
		/* Pairs with smp_wmb() in sct_ring_commit(). */
		head = smp_load_acquire(&ring->head);
		stats->dropped = READ_ONCE(ring->dropped);
		stats->excluded = READ_ONCE(ring->excluded);
		/* A record that is begun goes before them: look at it last. */
		smp_rmb();
		if (READ_ONCE(ring->begin) == head)
			break;
		cpu_relax();
	}
	stats->issued = head + stats->dropped;
	stats->logged = min_t(u64, head, sct_ring_size(ring));
	stats->overwritten = head - stats->logged;
}

/* How many of the records from @start on were begun to be overwritten. */
static u64 lost_since(const struct sct_ring *ring, u64 start)
{
	u64 begin;

	/* Copy before looking: pairs with smp_wmb() in sct_ring_begin(). */
	smp_rmb();
	begin = READ_ONCE(ring->begin);
	if (begin <= start + sct_ring_size(ring))
		return 0;
	return begin - start - sct_ring_size(ring);
}

/* A record that is being overwritten may have any size. */
static size_t copy_record(struct sct_record *to, const struct sct_record *from)
{
	size_t size;

	/* A race with the writer is found out about by lost_since(). */
	*to = data_race(*from);
	size = min_t(size_t, to->size, sct_data_bytes);
	memcpy(to->data, from->data, size);
	return size;
}

/**
 * sct_ring_copy() - copy a record from a ring that is being written to
 * @ring: the ring
 * @n: number of the record; it was made
 * @to: gets it and its data, with zeros up to a multiple of 8; has room for
 *	sct_slot_size bytes
 * @lost: gets how many records from @n on are overwritten, 0 if it is there
 *
 * Context: Any but the probe's.
 * Return: How many bytes it has; 0 if it is lost.
 */
size_t sct_ring_copy(const struct sct_ring *ring, u64 n, struct sct_record *to,
		     u64 *lost)
{
	size_t size = copy_record(to, sct_ring_slot(ring, n));

	*lost = lost_since(ring, n);
	if (*lost)
		return 0;
	memset(to->data + size, 0, ALIGN(size, 8) - size);
	return sizeof(*to) + ALIGN(size, 8);
}

/**
 * sct_ring_keep_blocked() - keep what is blocked apart from the log
 * @rec: a record of the log that is filled, and not committed yet
 *
 * While it is not, no other record of this CPU gets in between: see
 * sct_ring_claim().
 *
 * Context: As sct_ring_claim().
 * Return: How many were kept on this CPU so far.
 */
u64 sct_ring_keep_blocked(const struct sct_record *rec)
{
	struct sct_ring *ring = this_cpu_ptr(&sct_blocked_rings);
	u64 n = READ_ONCE(ring->head);

	WRITE_ONCE(ring->begin, n + 1);
	/* Announce before writing: pairs with smp_rmb() in lost_since(). */
	smp_wmb();
	memcpy(sct_ring_slot(ring, n), rec, sizeof(*rec) + rec->size);
	/* Write before publishing: pairs with smp_load_acquire() of @head. */
	smp_store_release(&ring->head, n + 1);
	return n + 1;
}

NOKPROBE_SYMBOL(sct_ring_keep_blocked);

static void free_runs(struct sct_log *log)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		kvfree(log->run[cpu].recs);
		log->run[cpu].recs = NULL;
	}
}

/* The first take assumes that the rings stay about as full as they are. */
static int alloc_runs(struct sct_log *log, int take)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		struct sct_run *run = &log->run[cpu];
		const struct sct_ring *ring = per_cpu_ptr(&sct_rings, cpu);
		u64 head = READ_ONCE(ring->head);

		run->room = sct_ring_size(ring);
		if (!take && head + SPARE_ROWS < run->room)
			run->room = head + SPARE_ROWS;
		run->recs = kvmalloc_array(run->room, sct_slot_size,
					   GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!run->recs)
			return -ENOMEM;
	}
	return 0;
}

/* Back to back on all CPUs: this is the moment that the picture shows. */
static void mark_heads(struct sct_log *log)
{
	unsigned int cpu;

	preempt_disable();
	for_each_possible_cpu(cpu) {
		const struct sct_ring *ring = per_cpu_ptr(&sct_rings, cpu);

		/* Pairs with smp_wmb() in sct_ring_commit(). */
		log->run[cpu].head = smp_load_acquire(&ring->head);
	}
	preempt_enable();
}

/* Lets others run. Returns -EINTR where the reader has been killed, or 0. */
static int breathe(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/*
 * Copies a ring that is being written to, and drops from the front of the copy
 * what was overwritten meanwhile: what remains has no gap. Returns the number
 * of records lost; -ENOSPC when the ring outgrew the copy; -EINTR.
 */
static ssize_t copy_run(struct sct_run *run, const struct sct_ring *ring)
{
	u64 size = sct_ring_size(ring);
	u64 start = run->head > size ? run->head - size : 0;
	u64 n;

	run->next = 0;
	run->count = run->head - start;
	if (run->count > run->room)
		return -ENOSPC;
	for (n = start; n < run->head; n++) {
		copy_record(run_rec(run, n - start), sct_ring_slot(ring, n));
		if (!(n % BREATH) && breathe())
			return -EINTR;
	}
	run->next = min_t(u64, lost_since(ring, start), run->count);
	return run->next;
}

/* Returns 0, -EINTR, or -EAGAIN when it lost more than it got. */
static int copy_runs(struct sct_log *log)
{
	size_t lost = 0, count = 0;
	unsigned int cpu;

	mark_heads(log);
	for_each_possible_cpu(cpu) {
		struct sct_run *run = &log->run[cpu];
		ssize_t n = copy_run(run, per_cpu_ptr(&sct_rings, cpu));

		if (n < 0)
			return n == -EINTR ? n : -EAGAIN;
		lost += n;
		count += run->count - run->next;
	}
	log->count = count;
	return lost > count ? -EAGAIN : 0;
}

static bool earlier(const struct sct_run *a, const struct sct_run *b)
{
	const struct sct_record *x = run_rec(a, a->next);
	const struct sct_record *y = run_rec(b, b->next);
	unsigned long x_made = x->jiffies, y_made = y->jiffies;

	if (time_before(x_made, y_made))
		return true;
	return !time_after(x_made, y_made) &&
	       x->clock + x->latency < y->clock + y->latency;
}

static void sift_down(struct sct_run **heap, unsigned int n, unsigned int i)
{
	unsigned int child;

	while ((child = 2 * i + 1) < n) {
		if (child + 1 < n && earlier(heap[child + 1], heap[child]))
			child++;
		if (!earlier(heap[child], heap[i]))
			break;
		swap(heap[child], heap[i]);
		i = child;
	}
}

static unsigned int build_heap(struct sct_log *log, struct sct_run **heap)
{
	unsigned int cpu, i, n = 0;

	for_each_possible_cpu(cpu) {
		struct sct_run *run = &log->run[cpu];

		if (run->next < run->count)
			heap[n++] = run;
	}
	for (i = n / 2; i-- > 0;)
		sift_down(heap, n, i);
	return n;
}

/* Each run is in order of jiffies, so the merged rows are as well. */
static int merge_runs(struct sct_log *log)
{
	struct sct_run **heap;
	unsigned int n;
	size_t i = 0;

	heap = kvmalloc_array(nr_cpu_ids, sizeof(*heap), GFP_KERNEL);
	log->row = kvmalloc_array(log->count + 1, sizeof(*log->row),
				  GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!heap || !log->row) {
		kvfree(heap);
		return -ENOMEM;
	}
	n = build_heap(log, heap);
	while (n) {
		struct sct_run *first = heap[0];

		log->row[i++] = run_rec(first, first->next++);
		if (first->next == first->count)
			heap[0] = heap[--n];
		sift_down(heap, n, 0);
		if (!(i % BREATH) && breathe()) {
			kvfree(heap);
			return -EINTR;
		}
	}
	kvfree(heap);
	return 0;
}

static int fill_log(struct sct_log *log)
{
	int take, err;

	for (take = 0; take < TAKES; take++) {
		free_runs(log);
		err = alloc_runs(log, take);
		if (err)
			return err;
		err = copy_runs(log);
		if (err != -EAGAIN)
			break;
	}
	return err == -EINTR ? err : merge_runs(log);
}

/**
 * sct_log_take() - take a picture of the log
 *
 * Writers go on meanwhile. Should they overwrite more than half of the log
 * before it is copied, which takes a small log and a preempted reader, it is
 * tried again a few times.
 *
 * Context: Process context, may sleep.
 * Return: The picture, for sct_log_free(), or an ERR_PTR.
 */
struct sct_log *sct_log_take(void)
{
	struct sct_log *log = kzalloc(sizeof(*log), GFP_KERNEL_ACCOUNT);
	int err;

	if (!log)
		return ERR_PTR(-ENOMEM);
	log->run = kvcalloc(nr_cpu_ids, sizeof(*log->run), GFP_KERNEL_ACCOUNT);
	err = log->run ? fill_log(log) : -ENOMEM;
	if (err) {
		sct_log_free(log);
		return ERR_PTR(err);
	}
	return log;
}

/**
 * sct_log_free() - free a picture
 * @log: from sct_log_take()
 *
 * Context: Process context, may sleep.
 */
void sct_log_free(struct sct_log *log)
{
	if (log->run)
		free_runs(log);
	kvfree(log->run);
	kvfree(log->row);
	kfree(log);
}

/* What all records of a CPU have in common. The rest is zero. */
static void prepare_slots(const struct sct_ring *ring, unsigned int cpu)
{
	size_t n;

	for (n = 0; n < sct_ring_size(ring); n++) {
		sct_ring_slot(ring, n)->cpu = cpu;
		if (!(n % BREATH))
			cond_resched();
	}
}

static int init_ring(struct sct_ring *ring, unsigned int cpu, size_t entries)
{
	ring->mask = entries - 1;
	ring->slots = kvmalloc_node(array_size(entries, sct_slot_size),
				    GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN,
				    cpu_to_node(cpu));
	if (!ring->slots)
		return -ENOMEM;
	prepare_slots(ring, cpu);
	return 0;
}

/**
 * sct_rings_init() - allocate the rings of all possible CPUs
 * @entries: records in the log of each; rounded up to a power of two
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sct_rings_init(unsigned int entries)
{
	size_t size = roundup_pow_of_two(entries);
	unsigned int cpu;

	sct_slot_size = sizeof(struct sct_record) + sct_data_bytes;
	for_each_possible_cpu(cpu) {
		if (!init_ring(per_cpu_ptr(&sct_rings, cpu), cpu, size) &&
		    !init_ring(per_cpu_ptr(&sct_blocked_rings, cpu), cpu,
			       BLOCKED))
			continue;
		sct_rings_exit();
		return -ENOMEM;
	}
	return 0;
}

/**
 * sct_rings_exit() - free the rings
 *
 * Context: Process context, may sleep; no probe and no reader is left.
 */
void sct_rings_exit(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		kvfree(per_cpu(sct_rings, cpu).slots);
		kvfree(per_cpu(sct_blocked_rings, cpu).slots);
	}
}
