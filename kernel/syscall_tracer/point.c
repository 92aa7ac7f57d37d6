// SPDX-License-Identifier: GPL-2.0-only
/*
 * Points: where the kernel lets system calls enter.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "point.h"
#include "probe.h"

#ifndef CONFIG_KPROBES
#error "syscall_tracer needs a kernel with CONFIG_KPROBES"
#endif

/**
 * struct alias - a call whose entry point is named otherwise
 * @name: what users call it
 * @symbol: what the kernel calls it
 */
struct alias {
	const char *name;
	const char *symbol;
};

#if defined(CONFIG_X86_64)

#define SYMBOL_PREFIX "__x64_sys_"

/* What has a name of its own goes first: the plain one is there all the same. */
static const char * const compat_prefixes[] = {
	"__ia32_sys_ia32_", "__ia32_compat_sys_ia32_",
	"__ia32_compat_sys_", "__ia32_sys_",
};

static const struct alias aliases[] = {
	{ "stat", "newstat" },
	{ "fstat", "newfstat" },
	{ "lstat", "newlstat" },
	{ "uname", "newuname" },
	{ "umount2", "umount" },
	{ "sendfile", "sendfile64" },
};

#elif defined(CONFIG_ARM64)

#define SYMBOL_PREFIX "__arm64_sys_"

static const char * const compat_prefixes[] = {
	"__arm64_compat_sys_aarch32_", "__arm64_compat_sys_",
};

static const struct alias aliases[] = {
	{ "fstat", "newfstat" },
	{ "uname", "newuname" },
	{ "umount2", "umount" },
	{ "sendfile", "sendfile64" },
	{ "fadvise64", "fadvise64_64" },
	{ "personality", "arm64_personality" },
};

#endif

/* The entry points of a call. */
enum entry {
	ENTRY_NATIVE,
	ENTRY_COMPAT,
	ENTRY_POINTS,
};

/**
 * struct points - the entry points of a call
 * @hook: on each of them
 */
struct points {
	struct sct_hook hook[ENTRY_POINTS];
};

/* By the id of the call. Guarded by sct_lock. */
static struct points *points[SCT_CALLS_MAX];

/* Those who do not come back from where they were called. */
static const char * const never_return[] = {
	"exit", "exit_group", "rt_sigreturn",
};

/**
 * sct_points_collect() - the entry points of calls
 * @set: their ids; NULL for all there are
 * @in_set: false for all others
 * @hooks: gets them, good until the next call of this function
 *
 * Context: Process context, sct_lock held.
 * Return: How many.
 */
unsigned int sct_points_collect(const unsigned long *set, bool in_set,
				struct sct_hook ***hooks)
{
	static struct sct_hook *collected[SCT_HOOKS_MAX];
	unsigned int id, entry, n = 0;

	lockdep_assert_held(&sct_lock);
	for (id = 0; id < sct_calls_known(); id++) {
		if (set && test_bit(id, set) != in_set)
			continue;
		for (entry = 0; entry < ENTRY_POINTS; entry++)
			if (points[id]->hook[entry].addr)
				collected[n++] = &points[id]->hook[entry];
	}
	*hooks = collected;
	return n;
}

/* NULL for a name that only the kernel uses. */
static const char *symbol_of(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(aliases); i++) {
		if (!strcmp(name, aliases[i].name))
			return aliases[i].symbol;
		if (!strcmp(name, aliases[i].symbol))
			return NULL;
	}
	return name;
}

/* What goes into the data of its records. */
static void plan_captures(struct sct_hook *hook, const char *signature)
{
	unsigned int i;

	for (i = 0; signature[i] && hook->captures < SCT_CAPTURES; i++) {
		if (signature[i] != SCT_ARG_PATH &&
		    signature[i] != SCT_ARG_SOCKADDR)
			continue;
		hook->capture[hook->captures].arg = i;
		hook->capture[hook->captures].kind = signature[i];
		hook->captures++;
	}
}

static bool does_return(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(never_return); i++)
		if (!strcmp(name, never_return[i]))
			return false;
	return true;
}

static int find_entry(struct sct_hook *hook, const char *prefix,
		      const char *symbol)
{
	snprintf(hook->symbol, sizeof(hook->symbol), "%s%s", prefix, symbol);
	return sct_probe_find(hook);
}

/*
 * 32-bit programs may have no entry point of their own: calls without
 * arguments share one that has two names.
 */
static void find_compat(struct points *found, const char *symbol)
{
	struct sct_hook *hook = &found->hook[ENTRY_COMPAT];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(compat_prefixes); i++)
		if (!find_entry(hook, compat_prefixes[i], symbol))
			break;
	if (hook->addr != found->hook[ENTRY_NATIVE].addr)
		return;
	sct_probes_found(&hook, 1);
	hook->addr = 0;
}

static void describe(struct sct_hook *hook, unsigned int id, bool compat)
{
	hook->call = id;
	hook->returns = does_return(sct_call_name(id));
	plan_captures(hook, compat ? sct_call_compat_signature(id) :
				     sct_call_signature(id));
	/* No filter is about a call that nobody has named before. */
	hook->examined = hook->captures;
}

static int alloc_counts(struct points *found)
{
	unsigned int entry;

	for (entry = 0; entry < ENTRY_POINTS; entry++) {
		found->hook[entry].counts = alloc_percpu(struct sct_counts);
		if (!found->hook[entry].counts)
			return -ENOMEM;
	}
	return 0;
}

static void free_points(struct points *old)
{
	unsigned int entry;

	for (entry = 0; entry < ENTRY_POINTS; entry++) {
		free_percpu(old->hook[entry].flight);
		free_percpu(old->hook[entry].counts);
	}
	kvfree(old);
}

/* Returns the id of the new call, or an error if the kernel does not have it */
static int create_point(const char *name, const char *symbol)
{
	struct points *found;
	unsigned int id;
	int err;

	if (sct_calls_known() == SCT_CALLS_MAX)
		return -ENOSPC;
	found = kvzalloc(sizeof(*found), GFP_KERNEL);
	if (!found)
		return -ENOMEM;
	err = alloc_counts(found);
	if (!err)
		err = find_entry(&found->hook[ENTRY_NATIVE], SYMBOL_PREFIX,
				 symbol);
	if (err) {
		free_points(found);
		return err;
	}
	find_compat(found, symbol);
	id = sct_call_add(name, found->hook[ENTRY_COMPAT].addr);
	describe(&found->hook[ENTRY_NATIVE], id, false);
	describe(&found->hook[ENTRY_COMPAT], id, true);
	points[id] = found;
	return id;
}

/**
 * sct_points_get() - find a system call of this kernel
 * @name: what users call it
 *
 * A call that is new gets probes that are not armed, for sct_probes_found().
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: Its id; -ENOENT if there is no such call; else the error of kprobes.
 */
int sct_points_get(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	const char *symbol = symbol_of(name);
	int id;

	lockdep_assert_held(&sct_lock);
	if (!*name || name[strspn(name, letters)] || !symbol)
		return -ENOENT;
	id = sct_call_find(name);
	return id >= 0 ? id : create_point(name, symbol);
}

/**
 * sct_points_missed() - count the calls that the kernel kept from the hooks of one
 * @id: of the call
 *
 * Context: Process context, sct_lock held.
 * Return: The sum of nmissed over all probes that it had since load.
 */
unsigned long sct_points_missed(unsigned int id)
{
	lockdep_assert_held(&sct_lock);
	return sct_hook_missed(&points[id]->hook[ENTRY_NATIVE]) +
	       sct_hook_missed(&points[id]->hook[ENTRY_COMPAT]);
}

static void sum_counts(const struct sct_hook *hook, struct sct_counts *sum)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		const struct sct_counts *one = per_cpu_ptr(hook->counts, cpu);

		sum->issued += READ_ONCE(one->issued);
		sum->blocked += READ_ONCE(one->blocked);
		sum->failed += READ_ONCE(one->failed);
	}
}

/**
 * sct_points_counts() - count the calls of one since load
 * @id: of the call
 * @counts: gets the sums of all CPUs and entry points
 *
 * Context: Process context, sct_lock held.
 */
void sct_points_counts(unsigned int id, struct sct_counts *counts)
{
	unsigned int entry;

	lockdep_assert_held(&sct_lock);
	memset(counts, 0, sizeof(*counts));
	for (entry = 0; entry < ENTRY_POINTS; entry++)
		sum_counts(&points[id]->hook[entry], counts);
}

/**
 * sct_points_examine() - have the calls that filters are about examined
 * @filters: in force, or about to be
 * @more: those that are examined now are so from now on, too
 *
 * Context: Process context, sct_lock held.
 */
void sct_points_examine(const struct sct_filters *filters, bool more)
{
	unsigned int id, entry;

	lockdep_assert_held(&sct_lock);
	for (id = 0; id < sct_calls_known(); id++) {
		bool about = filters->first[id] != SCT_FILTERS_MAX;

		for (entry = 0; entry < ENTRY_POINTS; entry++) {
			struct sct_hook *hook = &points[id]->hook[entry];

			WRITE_ONCE(hook->examined, about || hook->captures ||
				   (more && hook->examined));
		}
	}
}

/**
 * sct_points_exit() - forget all entry points
 *
 * Context: Process context, sct_lock held, may sleep; nothing is hooked.
 */
void sct_points_exit(void)
{
	unsigned int id;

	lockdep_assert_held(&sct_lock);
	for (id = 0; id < sct_calls_known(); id++)
		free_points(points[id]);
}
