// SPDX-License-Identifier: GPL-2.0-only
/*
 * Filters: which calls are blocked.
 */
#include <linux/bitmap.h>
#include <linux/build_bug.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "filter.h"

struct sct_filters __rcu *sct_filters_active;

static bool item_begins(const struct sct_item *head, const u8 *data,
			const struct sct_filter *filter)
{
	return head->size >= filter->path_len &&
	       !memcmp(data, filter->path, filter->path_len);
}

/* A path that could not be read is not among the items. */
static bool any_path_begins(const struct sct_filter *filter,
			    const struct sct_record *rec)
{
	const char *signature = sct_record_signature(rec);
	struct sct_item head;
	size_t at;

	for (at = 0; at + sizeof(head) <= rec->size; at += head.size) {
		memcpy(&head, rec->data + at, sizeof(head));
		at += sizeof(head);
		if (signature[head.arg] == SCT_ARG_PATH &&
		    item_begins(&head, rec->data + at, filter))
			return true;
	}
	return false;
}

/**
 * sct_filter_texts() - whether command name and path are as a filter wants
 * @filter: has predicates on them
 * @rec: the call
 *
 * Context: Any, NMI included.
 * Return: True if so.
 */
bool sct_filter_texts(const struct sct_filter *filter,
		      const struct sct_record *rec)
{
	if (filter->fields & SCT_IF_COMM &&
	    strncmp(filter->comm, rec->comm, SCT_COMM_LEN))
		return false;
	return !(filter->fields & SCT_IF_PATH) || any_path_begins(filter, rec);
}

NOKPROBE_SYMBOL(sct_filter_texts);

/**
 * sct_filters_get() - hold the filters that are in force
 *
 * Context: Process context, sct_lock held.
 * Return: The filters, not to be changed; for sct_filters_put().
 */
struct sct_filters *sct_filters_get(void)
{
	struct sct_filters *filters;

	filters = rcu_dereference_protected(sct_filters_active,
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
	/* What lies behind the last filter is read by nobody. */
	size_t size = offsetof(struct sct_filters, filter) +
		      filters->count * sizeof(filters->filter[0]);

	if (copy) {
		memcpy(copy, filters, size);
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
	sct_filters_put(rcu_replace_pointer(sct_filters_active, filters,
					    lockdep_is_held(&sct_lock)));
}

/* Spares the probe the filters that are about other calls, at both ends. */
static void index_calls(struct sct_filters *filters)
{
	unsigned int i, id;

	BUILD_BUG_ON(SCT_FILTERS_MAX > U8_MAX);
	memset(filters->first, SCT_FILTERS_MAX, sizeof(filters->first));
	memset(filters->last, 0, sizeof(filters->last));
	for (i = 0; i < filters->count; i++)
		for_each_set_bit(id, filters->filter[i].calls, SCT_CALLS_MAX) {
			filters->first[id] = min_t(u8, filters->first[id], i);
			filters->last[id] = i;
		}
}

static bool same(const struct sct_filter *a, const struct sct_filter *b)
{
	return a->status == b->status && a->error == b->error &&
	       a->fields == b->fields && a->pid == b->pid &&
	       a->uid == b->uid && !strcmp(a->name, b->name) &&
	       !strcmp(a->comm, b->comm) && !strcmp(a->path, b->path);
}

/**
 * sct_filters_add() - append a filter, unless it is there already
 * @filters: from sct_filters_clone()
 * @filter: the filter; what it does not use is zero
 *
 * Context: Process context, sct_lock held.
 * Return: 0, or -ENOSPC if there are too many.
 */
int sct_filters_add(struct sct_filters *filters,
		    const struct sct_filter *filter)
{
	unsigned int i;

	for (i = 0; i < filters->count; i++)
		if (same(&filters->filter[i], filter))
			return 0;
	if (filters->count == SCT_FILTERS_MAX)
		return -ENOSPC;
	filters->filter[filters->count++] = *filter;
	index_calls(filters);
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
	index_calls(filters);
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
	index_calls(filters);
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
	index_calls(filters);
	RCU_INIT_POINTER(sct_filters_active, filters);
	return 0;
}

/**
 * sct_filters_exit() - free the filters
 *
 * Context: Process context; no probe and no reader is left.
 */
void sct_filters_exit(void)
{
	sct_filters_put(rcu_replace_pointer(sct_filters_active, NULL, true));
}
