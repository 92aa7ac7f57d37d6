// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transactions: changes of filters and traced calls that all take effect, or
 * none.
 */
#include <linux/bitmap.h>
#include <linux/err.h>
#include <linux/string.h>

#include "tracer.h"

/**
 * sct_refuse() - refuse a change
 * @stage: the transaction
 * @err: what the user gets
 * @reason: for the user; a text that is there as long as the module is
 *
 * Context: Any.
 * Return: @err.
 */
int sct_refuse(struct sct_stage *stage, int err, const char *reason)
{
	stage->reason = reason;
	return err;
}

static int resolve_one(const char *name, unsigned long *calls)
{
	int id = sct_points_get(name);

	if (id < 0)
		return id;
	__set_bit(id, calls);
	return 0;
}

/*
 * Finds the calls that a user's name stands for: of a family, those that this
 * kernel has.
 */
static int resolve_all(const char *name, unsigned long *calls)
{
	const char * const *member = NULL;
	int err, result = -ENOENT;

	if (*name == '=')
		return resolve_one(name + 1, calls);
	member = sct_family_members(name);
	if (!member)
		return resolve_one(name, calls);
	for (; *member; member++) {
		err = resolve_one(*member, calls);
		if (!err)
			result = 0;
		else if (err != -ENOENT)
			return err;
	}
	return result;
}

static int resolve(struct sct_stage *stage, const char *name,
		   unsigned long *calls)
{
	int err = resolve_all(name, calls);

	if (err == -ENOENT)
		return sct_refuse(stage, err, "no such system call");
	if (err)
		return sct_refuse(stage, err, "it cannot be traced");
	return 0;
}

/**
 * sct_stage_begin() - begin a transaction
 * @stage: what it comes to
 *
 * Takes sct_lock, which sct_stage_end() releases; on an error it is not taken.
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sct_stage_begin(struct sct_stage *stage)
{
	mutex_lock(&sct_lock);
	stage->reason = NULL;
	stage->filters = sct_filters_clone();
	if (!stage->filters) {
		mutex_unlock(&sct_lock);
		return sct_refuse(stage, -ENOMEM, "out of memory");
	}
	sct_traced(stage->traced);
	return 0;
}

/* What is kept of a path by each of the calls that take one; 0 if none does */
static size_t path_room(const unsigned long *calls)
{
	size_t room = 0;
	unsigned int id;

	for_each_set_bit(id, calls, SCT_CALLS_MAX) {
		const char *signature = sct_call_signature(id);
		size_t kept = sct_signature_room(signature);

		if (strchr(signature, SCT_ARG_PATH) && (!room || kept < room))
			room = kept;
	}
	return room;
}

static int check_path(struct sct_stage *stage, const struct sct_filter *filter)
{
	size_t room = path_room(filter->calls);

	if (!room)
		return sct_refuse(stage, -EINVAL, "it takes no path");
	if (filter->path_len > room)
		return sct_refuse(stage, -EINVAL,
			      "path is longer than what data_bytes keeps");
	return 0;
}

/**
 * sct_stage_filter() - add a filter, and trace the calls that it is about
 * @stage: the transaction
 * @filter: all but its calls; what it does not use is zero
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0, or the error that docs/abi.md names.
 */
int sct_stage_filter(struct sct_stage *stage, struct sct_filter *filter)
{
	int err;

	lockdep_assert_held(&sct_lock);
	bitmap_zero(filter->calls, SCT_CALLS_MAX);
	err = resolve(stage, filter->name, filter->calls);
	if (err)
		return err;
	err = filter->fields & SCT_IF_PATH ? check_path(stage, filter) : 0;
	if (err)
		return err;
	err = sct_filters_add(stage->filters, filter);
	if (err)
		return sct_refuse(stage, err, "too many filters");
	bitmap_or(stage->traced, stage->traced, filter->calls, SCT_CALLS_MAX);
	return 0;
}

/**
 * sct_stage_delete() - remove all filters of a name
 * @stage: the transaction
 * @name: as the user wrote it
 *
 * Context: Process context, sct_lock held.
 * Return: 0, or -ENOENT if there is none.
 */
int sct_stage_delete(struct sct_stage *stage, const char *name)
{
	int err = sct_filters_delete(stage->filters, name);

	return err ? sct_refuse(stage, err, "no such filter") : 0;
}

/**
 * sct_stage_clear() - remove all filters
 * @stage: the transaction
 *
 * Context: Process context, sct_lock held.
 * Return: 0.
 */
int sct_stage_clear(struct sct_stage *stage)
{
	sct_filters_clear(stage->filters);
	return 0;
}

/**
 * sct_stage_trace() - start or stop to trace calls
 * @stage: the transaction
 * @name: a family, a call, or "=" and a call
 * @on: whether to trace them
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0, or the error that docs/abi.md names.
 */
int sct_stage_trace(struct sct_stage *stage, const char *name, bool on)
{
	DECLARE_BITMAP(calls, SCT_CALLS_MAX);
	int err;

	bitmap_zero(calls, SCT_CALLS_MAX);
	err = resolve(stage, name, calls);
	if (err)
		return err;
	if (on)
		bitmap_or(stage->traced, stage->traced, calls, SCT_CALLS_MAX);
	else
		bitmap_andnot(stage->traced, stage->traced, calls,
			      SCT_CALLS_MAX);
	return 0;
}

/* While it is enforcing, what a filter blocks does not run. */
static int check_promise(struct sct_stage *stage)
{
	const char *reason = sct_promise_hinders(stage->filters, stage->traced);

	return reason ? sct_refuse(stage, -EBUSY, reason) : 0;
}

/*
 * The filters change at once, for all calls. So those that they are about are
 * examined before, and those that they were about until after.
 */
static void publish(struct sct_filters *filters)
{
	sct_points_examine(filters, true);
	sct_filters_publish(filters);
	sct_points_examine(filters, false);
}

static const char occupied[] = "somebody else redirects it, or ftrace is off";

/**
 * sct_stage_end() - end a transaction
 * @stage: from sct_stage_begin()
 * @err: what went wrong so far, or 0 to have it take effect
 *
 * Releases sct_lock.
 *
 * Context: Process context, may sleep.
 * Return: @err, or what keeps it from taking effect.
 */
int sct_stage_end(struct sct_stage *stage, int err)
{
	lockdep_assert_held(&sct_lock);
	if (!err) {
		err = sct_trace_arm(stage->traced);
		if (err)
			sct_refuse(stage, err, err == -EBUSY ? occupied :
			       "it cannot be traced");
		else if (sct_enforcing())
			err = check_promise(stage);
	}
	if (err) {
		sct_trace_rollback();
		sct_filters_put(stage->filters);
	} else {
		publish(stage->filters);
		sct_trace_commit(stage->traced);
		sct_changed();
	}
	mutex_unlock(&sct_lock);
	return err;
}
