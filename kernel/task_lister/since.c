// SPDX-License-Identifier: GPL-2.0-only
/*
 * What changed since a pass: an open file remembers of each task who it was and
 * what it had used, 16 bytes, and holds the next pass against it.
 *
 * Both passes go by ascending numbers, so one walk along both finds all: who is
 * in the new one only, who is in both and has moved, and who is left over.
 *
 * Only what a reader has got is remembered. A task that was found may be gone
 * before its row is read: until the row is left it is kept beside.
 */
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "lister.h"

#define FIRST_SEEN	512
#define MET		BIT_ULL(0)	/* of a sum: the task was met again */

static pid_t tid_of(const struct tl_seen *seen)
{
	return seen->id & (BIT_ULL(TL_TID_BITS) - 1);
}

/* Room for one more, by doubling: bounded by the tasks there are. */
static int make_room(struct tl_memory *memory)
{
	u32 capacity = max_t(u32, 2 * memory->capacity, FIRST_SEEN);
	struct tl_seen *seen;

	if (memory->count < memory->capacity)
		return 0;
	seen = kvmalloc_array(capacity, sizeof(*seen), GFP_KERNEL_ACCOUNT);
	if (!seen)
		return -ENOMEM;
	if (memory->count)
		memcpy(seen, memory->seen, memory->count * sizeof(*seen));
	kvfree(memory->seen);
	memory->seen = seen;
	memory->capacity = capacity;
	return 0;
}

static u64 mixed(u64 sum, u64 with)
{
	return (sum ^ with) * GOLDEN_RATIO_64;
}

/*
 * A number that is another one when the task has run, or has another state,
 * parent, user or number of threads. No lock: what changes while it is read is
 * seen the next time.
 */
static u64 sum_of(struct task_struct *task, bool threads)
{
	struct signal_struct *sig = task->signal;
	u64 sum = READ_ONCE(task->se.sum_exec_runtime);
	struct task_struct *thread;

	rcu_read_lock();
	if (!threads) {
		sum = READ_ONCE(sig->sum_sched_runtime);
		for_each_thread(task, thread)
			sum += READ_ONCE(thread->se.sum_exec_runtime);
	}
	sum = mixed(sum, tl_task_state(task));
	sum = mixed(sum, (uintptr_t)rcu_access_pointer(task->real_parent));
	sum = mixed(sum, (uintptr_t)rcu_access_pointer(task->real_cred));
	sum = mixed(sum, get_nr_threads(task));
	rcu_read_unlock();
	return sum & ~MET;
}

/**
 * tl_since_begin() - a pass begins
 * @cursor: of the open file; has a selection
 *
 * Context: Any.
 */
void tl_since_begin(struct tl_cursor *cursor)
{
	struct tl_since *since = &cursor->since;
	u32 i;

	since->is_found = false;
	if (!cursor->selection->is_since)
		return;
	since->now.count = 0;
	since->at = 0;
	if (since->before.pass != cursor->selection->since)
		since->before.count = 0;
	for (i = 0; i < since->before.count; i++)
		since->before.seen[i].sum &= ~MET;
}

static void remember(struct tl_since *since)
{
	struct tl_seen *old = &since->before.seen[since->at];

	since->now.seen[since->now.count++] = since->found;
	if (since->at < since->before.count && old->id == since->found.id)
		old->sum |= MET;
	since->is_found = false;
}

/**
 * tl_since_found() - a pass has come to a task
 * @cursor: of the open file; has a selection with since=
 * @task: the task, referenced
 *
 * Context: Process context, may sleep.
 * Return: 1: it is to be shown; 0: it is what it was; -ENOMEM.
 */
int tl_since_found(struct tl_cursor *cursor, struct task_struct *task)
{
	struct tl_since *since = &cursor->since;
	const struct tl_memory *before = &since->before;
	const struct tl_seen *old;
	int err = make_room(&since->now);

	if (err)
		return err;
	while (since->at < before->count &&
	       tid_of(&before->seen[since->at]) < cursor->pid)
		since->at++;
	since->found.id = tl_identity(task, cursor->pid);
	since->found.sum = sum_of(task, cursor->selection->threads);
	since->is_found = true;
	old = &before->seen[since->at];
	if (since->at == before->count || old->id != since->found.id ||
	    (old->sum & ~MET) != since->found.sum)
		return 1;
	remember(since);
	return 0;
}

/**
 * tl_since_left() - the reader has the row of the task that was found
 * @cursor: of the open file
 *
 * Context: Any.
 */
void tl_since_left(struct tl_cursor *cursor)
{
	if (cursor->since.is_found)
		remember(&cursor->since);
}

/**
 * tl_since_gone() - find the next task that was there and is not any more
 * @cursor: of the open file
 * @index: where to begin; set to where it is
 *
 * Context: Any.
 * Return: its identity, or 0.
 */
u64 tl_since_gone(struct tl_cursor *cursor, u32 *index)
{
	const struct tl_memory *before = &cursor->since.before;

	for (; *index < before->count; ++*index)
		if (!(before->seen[*index].sum & MET))
			return before->seen[*index].id;
	return 0;
}

/**
 * tl_since_end() - the reader has all of a pass
 * @cursor: of the open file
 *
 * Context: Any.
 */
void tl_since_end(struct tl_cursor *cursor)
{
	struct tl_since *since = &cursor->since;

	swap(since->before, since->now);
	since->before.pass = cursor->pass.number;
	since->now.count = 0;
}

/**
 * tl_since_free() - forget all
 * @cursor: of the open file
 *
 * Context: Process context, may sleep.
 */
void tl_since_free(struct tl_cursor *cursor)
{
	kvfree(cursor->since.before.seen);
	kvfree(cursor->since.now.seen);
}
