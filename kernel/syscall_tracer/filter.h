/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: the verdict on a call.
 *
 * Inline, for it is part of what each traced call costs.
 */
#ifndef SYSCALL_TRACER_FILTER_H
#define SYSCALL_TRACER_FILTER_H

#include <linux/bitops.h>
#include <linux/errno.h>

#include "tracer.h"

bool sct_filter_texts(const struct sct_filter *filter,
		      const struct sct_record *rec);

/* All that takes no text. */
static __always_inline bool sct_filter_suspects(const struct sct_filter *filter,
						size_t call,
						const struct sct_record *rec)
{
	if (!test_bit(call, filter->calls))
		return false;
	if (filter->fields & SCT_IF_PID && filter->pid != rec->pid)
		return false;
	return !(filter->fields & SCT_IF_UID) || filter->uid == rec->uid;
}

static __always_inline bool sct_filter_matches(const struct sct_filter *filter,
					       const struct sct_record *rec)
{
	return sct_filter_suspects(filter, rec->call, rec) &&
	       (!(filter->fields & (SCT_IF_COMM | SCT_IF_PATH)) ||
		sct_filter_texts(filter, rec));
}

/**
 * sct_filters_suspect() - whether any filter may match a call
 * @filters: in force
 * @call: id of the call
 * @rec: the call, all but its data and its status
 *
 * Calls no function, so that calls that pass cost little.
 *
 * Context: Any, NMI included, with preemption off.
 * Return: False if sct_filters_judge() would allow the call.
 */
static __always_inline bool sct_filters_suspect(const struct sct_filters *filters,
						size_t call,
						const struct sct_record *rec)
{
	const struct sct_filter *filter;
	unsigned int i;

	if (likely(filters->first[call] == SCT_FILTERS_MAX))
		return false;
	/* Anew, so that the compiler compares in memory above. */
	i = READ_ONCE(filters->first[call]);
	for (filter = &filters->filter[i]; i <= filters->last[call];
	     i++, filter++)
		if (sct_filter_suspects(filter, call, rec))
			return true;
	return false;
}

/**
 * sct_filters_judge() - judge a call
 * @filters: in force
 * @rec: the call, all but its status
 *
 * The first filter that matches decides.
 *
 * Context: Any, NMI included, with preemption off.
 * Return: 0 if the call is allowed; the errno, positive, if it is blocked.
 */
static __always_inline int sct_filters_judge(const struct sct_filters *filters,
					     const struct sct_record *rec)
{
	unsigned int i = filters->first[rec->call];
	unsigned int last = filters->last[rec->call];
	const struct sct_filter *filter = &filters->filter[i];

	for (; i <= last; i++, filter++) {
		if (!sct_filter_matches(filter, rec))
			continue;
		if (filter->status == SCT_BLOCKED)
			return filter->error ?: EPERM;
		return 0;
	}
	return 0;
}

#endif /* SYSCALL_TRACER_FILTER_H */
