// SPDX-License-Identifier: GPL-2.0-only
/*
 * Filters: which calls are blocked.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "tracer.h"

static struct sct_filters __rcu *active;

/**
 * sct_filters_verdict() - judge a call
 * @rec: the call, all but its status
 *
 * The first filter that matches decides.
 *
 * Context: Any, NMI included.
 * Return: The verdict; SCT_ALLOWED if no filter matches.
 */
enum sct_status sct_filters_verdict(const struct sct_record *rec)
{
	enum sct_status status = SCT_ALLOWED;
	const struct sct_filters *filters;
	unsigned int i;

	rcu_read_lock();
	filters = rcu_dereference(active);
	if (test_bit(rec->call, filters->calls)) {
		for (i = 0; !test_bit(rec->call, filters->filter[i].calls);)
			i++;
		status = filters->filter[i].status;
	}
	rcu_read_unlock();
	return status;
}

/**
 * sct_filters_get() - hold the filters that are in force
 *
 * Context: Process context, sct_lock held.
 * Return: The filters, not to be changed; for sct_filters_put().
 */
struct sct_filters *sct_filters_get(void)
{
	struct sct_filters *filters;

	filters = rcu_dereference_protected(active,
					    lockdep_is_held(&sct_lock));
	refcount_inc(&filters->users);
	return filters;
}

/**
 * sct_filters_put() - let go of filters
 * @filters: from sct_filters_get() or sct_filters_clone()
 *
 * Context: Any.
 */
void sct_filters_put(struct sct_filters *filters)
{
	if (refcount_dec_and_test(&filters->users))
		kvfree_rcu(filters, rcu);
}

/**
 * sct_filters_clone() - copy the filters that are in force, to change them
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: For sct_filters_publish() or sct_filters_put(); NULL: no memory.
 */
struct sct_filters *sct_filters_clone(void)
{
	struct sct_filters *filters = sct_filters_get();
	struct sct_filters *copy = kvmalloc(sizeof(*copy), GFP_KERNEL);

	if (copy) {
		*copy = *filters;
		refcount_set(&copy->users, 1);
	}
	sct_filters_put(filters);
	return copy;
}

/**
 * sct_filters_publish() - put filters in force
 * @filters: from sct_filters_clone(), not to be changed any more
 *
 * Context: Process context, sct_lock held.
 */
void sct_filters_publish(struct sct_filters *filters)
{
	sct_filters_put(rcu_replace_pointer(active, filters,
					    lockdep_is_held(&sct_lock)));
}

static void sum_up(struct sct_filters *filters)
{
	unsigned int i;

	bitmap_zero(filters->calls, SCT_CALLS_MAX);
	for (i = 0; i < filters->count; i++)
		bitmap_or(filters->calls, filters->calls,
			  filters->filter[i].calls, SCT_CALLS_MAX);
}

/**
 * sct_filters_add() - append a filter, unless it is there already
 * @filters: from sct_filters_clone()
 * @name: as the user wrote it
 * @status: the verdict
 * @calls: what it matches
 *
 * Context: Process context, sct_lock held.
 * Return: 0, or -ENOSPC if there are too many.
 */
int sct_filters_add(struct sct_filters *filters, const char *name,
		    enum sct_status status, const unsigned long *calls)
{
	struct sct_filter *filter = filters->filter;
	unsigned int i;

	for (i = 0; i < filters->count; i++, filter++)
		if (filter->status == status && !strcmp(filter->name, name))
			return 0;
	if (filters->count == SCT_FILTERS_MAX)
		return -ENOSPC;
	strscpy(filter->name, name, sizeof(filter->name));
	filter->status = status;
	bitmap_copy(filter->calls, calls, SCT_CALLS_MAX);
	filters->count++;
	sum_up(filters);
	return 0;
}

/**
 * sct_filters_delete() - remove all filters of a name
 * @filters: from sct_filters_clone()
 * @name: as the user wrote it
 *
 * Context: Process context, sct_lock held.
 * Return: 0, or -ENOENT if there is none.
 */
int sct_filters_delete(struct sct_filters *filters, const char *name)
{
	unsigned int i, kept = 0;

	for (i = 0; i < filters->count; i++)
		if (strcmp(filters->filter[i].name, name))
			filters->filter[kept++] = filters->filter[i];
	if (kept == filters->count)
		return -ENOENT;
	filters->count = kept;
	sum_up(filters);
	return 0;
}

/**
 * sct_filters_clear() - remove all filters
 * @filters: from sct_filters_clone()
 *
 * Context: Process context, sct_lock held.
 */
void sct_filters_clear(struct sct_filters *filters)
{
	filters->count = 0;
	sum_up(filters);
}

/**
 * sct_filters_init() - start without filters
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sct_filters_init(void)
{
	struct sct_filters *filters = kvzalloc(sizeof(*filters), GFP_KERNEL);

	if (!filters)
		return -ENOMEM;
	refcount_set(&filters->users, 1);
	RCU_INIT_POINTER(active, filters);
	return 0;
}

/**
 * sct_filters_exit() - free the filters
 *
 * Context: Process context; no probe and no reader is left.
 */
void sct_filters_exit(void)
{
	sct_filters_put(rcu_replace_pointer(active, NULL, true));
}
