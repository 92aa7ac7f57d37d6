// SPDX-License-Identifier: GPL-2.0-only
/*
 * The log: a ring of records per CPU, and pictures of all of them.
 */
#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>

#include "tracer.h"

#define SPARE_ROWS	256	/* for calls made while a picture is prepared */
#define TAKES		4	/* attempts at a picture that lost little */
#define BREATH		4096	/* rows between two chances to reschedule */

/**
 * struct ring - the newest calls of one CPU
 * @slot: ring_size records
 * @begin: records that were begun, the one under way included
 * @head: records that are complete
 * @dropped: calls that came while another one was under way
 *
 * Record number n lives in slot n % ring_size until record n + ring_size is
 * begun. Only its own CPU writes to a ring, with preemption off.
 */
struct ring {
	struct sct_record *slot;
	u64 begin;
	u64 head;
	unsigned long dropped;
};

/**
 * struct sct_run - the part of a picture that comes from one CPU
 * @rec: the copied records
 * @room: how many fit into @rec
 * @next: the first one that is not merged yet
 * @count: end of the valid ones
 * @head: of the ring, when the picture was taken
 */
struct sct_run {
	struct sct_record *rec;
	size_t room;
	size_t next;
	size_t count;
	u64 head;
};

static DEFINE_PER_CPU(struct ring, rings);
static size_t ring_size __read_mostly;

/**
 * sct_ring_push() - append a record to the log of this CPU
 * @rec: the record
 *
 * Whoever moves @begin on from @head owns the slot. Should an NMI get in
 * between, then @begin has moved, and the interrupted call is dropped.
 *
 * Context: Any, NMI included, with preemption off. Does not wait.
 */
void sct_ring_push(const struct sct_record *rec)
{
	struct ring *ring = this_cpu_ptr(&rings);
	u64 n = READ_ONCE(ring->head);

	if (this_cpu_cmpxchg(rings.begin, n, n + 1) != n) {
		this_cpu_inc(rings.dropped);
		return;
	}
	/* Announce before writing: pairs with smp_rmb() in copy_run(). */
	smp_wmb();
	ring->slot[n & (ring_size - 1)] = *rec;
	/* Write before publishing: pairs with mark_heads(). */
	smp_store_release(&ring->head, n + 1);
}

static void free_runs(struct sct_log *log)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		kvfree(log->run[cpu].rec);
		log->run[cpu].rec = NULL;
	}
}

/* The first take assumes that the rings stay about as full as they are. */
static int alloc_runs(struct sct_log *log, int take)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		struct sct_run *run = &log->run[cpu];
		u64 head = READ_ONCE(per_cpu_ptr(&rings, cpu)->head);

		run->room = ring_size;
		if (!take && head + SPARE_ROWS < ring_size)
			run->room = head + SPARE_ROWS;
		run->rec = kvmalloc_array(run->room, sizeof(*run->rec),
					  GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!run->rec)
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
		struct ring *ring = per_cpu_ptr(&rings, cpu);

		/* Pairs with smp_store_release() in sct_ring_push(). */
		log->run[cpu].head = smp_load_acquire(&ring->head);
	}
	preempt_enable();
}

/*
 * Copies a ring that is being written to, and drops from the front of the copy
 * what was overwritten meanwhile: what remains has no gap. Returns the number
 * of records lost, or -ENOSPC when the ring outgrew the copy.
 */
static ssize_t copy_run(struct sct_run *run, const struct ring *ring)
{
	u64 start = run->head > ring_size ? run->head - ring_size : 0;
	u64 n, begin, lost;

	run->next = 0;
	run->count = run->head - start;
	if (run->count > run->room)
		return -ENOSPC;
	for (n = start; n < run->head; n++) {
		const struct sct_record *slot;

		slot = &ring->slot[n & (ring_size - 1)];
		/* A race with the writer is found out about below. */
		run->rec[n - start] = data_race(*slot);
		if (!(n % BREATH))
			cond_resched();
	}
	/* Copy before looking: pairs with smp_wmb() in sct_ring_push(). */
	smp_rmb();
	begin = READ_ONCE(ring->begin);
	lost = begin > start + ring_size ? begin - start - ring_size : 0;
	run->next = min_t(u64, lost, run->count);
	return run->next;
}

/* Returns 0, or -EAGAIN when it lost more than it got. */
static int copy_runs(struct sct_log *log)
{
	size_t lost = 0, count = 0;
	unsigned int cpu;

	mark_heads(log);
	for_each_possible_cpu(cpu) {
		struct sct_run *run = &log->run[cpu];
		ssize_t n = copy_run(run, per_cpu_ptr(&rings, cpu));

		if (n < 0)
			return -EAGAIN;
		lost += n;
		count += run->count - run->next;
	}
	log->count = count;
	return lost > count ? -EAGAIN : 0;
}

static bool earlier(const struct sct_run *a, const struct sct_run *b)
{
	const struct sct_record *x = &a->rec[a->next];
	const struct sct_record *y = &b->rec[b->next];

	if (time_before(x->jiffies, y->jiffies))
		return true;
	return !time_after(x->jiffies, y->jiffies) && x->clock < y->clock;
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

		log->row[i++] = &first->rec[first->next++];
		if (first->next == first->count)
			heap[0] = heap[--n];
		sift_down(heap, n, 0);
		if (!(i % BREATH))
			cond_resched();
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
		if (copy_runs(log) != -EAGAIN)
			break;
	}
	return merge_runs(log);
}

static void count_losses(struct sct_log *log)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		log->overwritten += log->run[cpu].head;
		log->dropped += READ_ONCE(per_cpu(rings, cpu).dropped);
	}
	log->overwritten -= log->count;
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
	count_losses(log);
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

/**
 * sct_rings_init() - allocate the rings of all possible CPUs
 * @entries: records for each; rounded up to a power of two
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sct_rings_init(unsigned int entries)
{
	unsigned int cpu;

	ring_size = roundup_pow_of_two(entries);
	for_each_possible_cpu(cpu) {
		struct sct_record *slot;

		slot = vzalloc_node(array_size(ring_size, sizeof(*slot)),
				    cpu_to_node(cpu));
		if (!slot) {
			sct_rings_exit();
			return -ENOMEM;
		}
		per_cpu(rings, cpu).slot = slot;
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

	for_each_possible_cpu(cpu)
		vfree(per_cpu(rings, cpu).slot);
}
