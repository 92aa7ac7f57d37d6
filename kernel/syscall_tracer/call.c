// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls: the system calls that are or were traced.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "hook.h"

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

/* The defaults that this architecture does not have. */
static const char * const absent[] = { NULL };

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

static const char * const absent[] = { "open", "creat", "unlink", NULL };

#endif

/* The families that are traced from the start. */
static const char * const defaults[] = {
	"open", "read", "write", "close", "unlink",
};

/* The entry points of a call. */
enum entry {
	ENTRY_NATIVE,
	ENTRY_COMPAT,
	ENTRY_POINTS,
};

/**
 * struct call - a system call that was named once
 * @hook: on its entry points
 * @signature: what its arguments are
 * @compat_signature: what they are at the entry point of 32-bit programs
 * @id: index in calls[]
 * @name: what users call it
 *
 * It stays until the module goes, for the records that refer to it.
 */
struct call {
	struct sct_hook hook[ENTRY_POINTS];
	const char *signature;
	const char *compat_signature;
	unsigned int id;
	char name[SCT_WORD_MAX + 1];
};

/* Guarded by sct_lock; but an entry, once there, does not change. */
static struct call *calls[SCT_CALLS_MAX];
static unsigned int calls_count;

/* Guarded by sct_lock: the calls that are hooked, between transactions. */
static DECLARE_BITMAP(traced, SCT_CALLS_MAX);

/* Those who do not come back from where they were called. */
static const char * const never_return[] = {
	"exit", "exit_group", "rt_sigreturn",
};

/* Returns how many entry points there are of the calls in @set, or of all. */
static unsigned int collect_hooks(const unsigned long *set, bool in_set,
				  struct sct_hook ***hooks)
{
	static struct sct_hook *collected[ENTRY_POINTS * SCT_CALLS_MAX];
	unsigned int i, entry, n = 0;

	lockdep_assert_held(&sct_lock);
	for (i = 0; i < calls_count; i++) {
		if (set && test_bit(i, set) != in_set)
			continue;
		for (entry = 0; entry < ENTRY_POINTS; entry++)
			if (calls[i]->hook[entry].addr)
				collected[n++] = &calls[i]->hook[entry];
	}
	*hooks = collected;
	return n;
}

/**
 * sct_calls_hooks() - all entry points there are
 * @hooks: gets them, good until the next call of a function of this file
 *
 * Context: Process context, sct_lock held.
 * Return: How many.
 */
unsigned int sct_calls_hooks(struct sct_hook ***hooks)
{
	return collect_hooks(NULL, true, hooks);
}

/* Leaves these calls hooked, and no others. */
static void unhook_but(const unsigned long *keep)
{
	struct sct_hook **hooks;
	unsigned int n = collect_hooks(NULL, true, &hooks);

	sct_hooks_found(hooks, n);
	n = collect_hooks(keep, false, &hooks);
	sct_hooks_disarm(hooks, n);
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

static struct call *find(const char *name)
{
	unsigned int i;

	for (i = 0; i < calls_count; i++)
		if (!strcmp(calls[i]->name, name))
			return calls[i];
	return NULL;
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

static int find_entry(struct call *call, enum entry entry, const char *prefix,
		      const char *symbol)
{
	struct sct_hook *hook = &call->hook[entry];

	snprintf(hook->symbol, sizeof(hook->symbol), "%s%s", prefix, symbol);
	return sct_hook_find(hook);
}

/*
 * 32-bit programs may have no entry point of their own: calls without
 * arguments share one that has two names.
 */
static void find_compat(struct call *call, const char *symbol)
{
	struct sct_hook *hook = &call->hook[ENTRY_COMPAT];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(compat_prefixes); i++)
		if (!find_entry(call, ENTRY_COMPAT, compat_prefixes[i], symbol))
			break;
	if (hook->addr != call->hook[ENTRY_NATIVE].addr)
		return;
	unregister_kprobe(&hook->kp);
	hook->finding = false;
	hook->addr = 0;
}

static void describe_hooks(struct call *call)
{
	unsigned int entry;

	for (entry = 0; entry < ENTRY_POINTS; entry++) {
		struct sct_hook *hook = &call->hook[entry];

		hook->call = call->id;
		hook->returns = does_return(call->name);
		plan_captures(hook, entry == ENTRY_COMPAT ?
			      call->compat_signature : call->signature);
	}
}

/* Returns the id of the new call, or an error if the kernel does not have it */
static int create(const char *name, const char *symbol)
{
	struct call *call;
	int err;

	if (calls_count == SCT_CALLS_MAX)
		return -ENOSPC;
	call = kvzalloc(sizeof(*call), GFP_KERNEL);
	if (!call)
		return -ENOMEM;
	call->id = calls_count;
	strscpy(call->name, name, sizeof(call->name));
	call->signature = sct_signature(name);
	call->compat_signature = sct_compat_signature(name);
	err = find_entry(call, ENTRY_NATIVE, SYMBOL_PREFIX, symbol);
	if (err) {
		kvfree(call);
		return err;
	}
	find_compat(call, symbol);
	describe_hooks(call);
	/* Whoever has an id may look at the call without the lock. */
	smp_store_release(&calls[calls_count], call);
	return calls_count++;
}

/**
 * sct_call_get() - find a system call of this kernel
 * @name: what users call it
 *
 * A call that is new gets a probe that is not armed; the transaction ends with
 * sct_calls_commit() or sct_calls_rollback(), which clean up.
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: Its id; -ENOENT if there is no such call; else the error of kprobes.
 */
int sct_call_get(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	const char *symbol = symbol_of(name);
	const struct call *call;

	lockdep_assert_held(&sct_lock);
	if (!*name || name[strspn(name, letters)] || !symbol)
		return -ENOENT;
	call = find(name);
	return call ? call->id : create(name, symbol);
}

/**
 * sct_call_name() - the name of a call
 * @id: from a record
 *
 * Context: Any.
 * Return: The name; it lives as long as the module.
 */
const char *sct_call_name(unsigned int id)
{
	return calls[id]->name;
}

/**
 * sct_call_signature() - what the arguments of a call are
 * @id: from a record
 *
 * Context: Any.
 * Return: A letter for each argument, see tracer.h.
 */
const char *sct_call_signature(unsigned int id)
{
	return calls[id]->signature;
}

/**
 * sct_call_compat_signature() - what a 32-bit program passes to a call
 * @id: from a record
 *
 * Context: Any.
 * Return: A letter for each register, see tracer.h.
 */
const char *sct_call_compat_signature(unsigned int id)
{
	const struct call *call = calls[id];

	/* Without an entry point of their own they share the native one. */
	return call->hook[ENTRY_COMPAT].addr ? call->compat_signature :
					       call->signature;
}

/**
 * sct_record_signature() - what the arguments in a record are
 * @rec: the record
 *
 * Context: Any.
 * Return: A letter for each register, see tracer.h.
 */
const char *sct_record_signature(const struct sct_record *rec)
{
	return rec->flags & SCT_COMPAT ? sct_call_compat_signature(rec->call) :
					 sct_call_signature(rec->call);
}

/**
 * sct_calls_traced() - copy the set of traced calls
 * @copy: gets the bits of their ids
 *
 * Context: Process context, sct_lock held.
 */
void sct_calls_traced(unsigned long *copy)
{
	lockdep_assert_held(&sct_lock);
	bitmap_copy(copy, traced, SCT_CALLS_MAX);
}

/**
 * sct_calls_arm() - start to trace calls
 * @wanted: their ids; those that are traced already may be among them
 *
 * To be followed by sct_calls_commit() or, on an error, sct_calls_rollback().
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0, or the first error of the hooks.
 */
int sct_calls_arm(const unsigned long *wanted)
{
	struct sct_hook **hooks;
	unsigned int n = collect_hooks(NULL, true, &hooks);

	sct_hooks_found(hooks, n);
	n = collect_hooks(wanted, true, &hooks);
	return sct_hooks_arm(hooks, n);
}

/**
 * sct_calls_commit() - trace these calls and no others
 * @wanted: their ids, armed
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_calls_commit(const unsigned long *wanted)
{
	unhook_but(wanted);
	bitmap_copy(traced, wanted, SCT_CALLS_MAX);
}

/**
 * sct_calls_rollback() - trace the calls that were traced before
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_calls_rollback(void)
{
	unhook_but(traced);
}

/**
 * sct_calls_rehook() - hook the traced calls as the parameters want it now
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0; else the first error of the hooks, and nothing has changed.
 */
int sct_calls_rehook(void)
{
	struct sct_hook **hooks;
	unsigned int n = collect_hooks(traced, true, &hooks);

	return sct_hooks_switch(hooks, n);
}

/**
 * sct_calls_live() - whether calls are hooked, and such hooks are called
 * @wanted: their ids
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: True if so.
 */
bool sct_calls_live(const unsigned long *wanted)
{
	struct sct_hook **hooks;
	unsigned int n = collect_hooks(wanted, true, &hooks);

	return sct_hooks_live(hooks, n);
}

/**
 * sct_call_missed() - count the calls that the probes of one missed since load
 * @id: of the call
 *
 * Context: Process context, sct_lock held.
 * Return: The sum of nmissed over the probes it had.
 */
unsigned long sct_call_missed(unsigned int id)
{
	lockdep_assert_held(&sct_lock);
	return sct_hook_missed(&calls[id]->hook[ENTRY_NATIVE]) +
	       sct_hook_missed(&calls[id]->hook[ENTRY_COMPAT]);
}

/**
 * sct_calls_missed() - count the calls that the probes missed since load
 *
 * Context: Process context, sct_lock held.
 * Return: The sum of nmissed over all probes there were.
 */
unsigned long sct_calls_missed(void)
{
	unsigned long sum = 0;
	unsigned int i;

	lockdep_assert_held(&sct_lock);
	for (i = 0; i < calls_count; i++)
		sum += sct_call_missed(i);
	return sum;
}

/**
 * sct_calls_known() - count the calls that were named since load
 *
 * Context: Process context, sct_lock held.
 * Return: How many; their ids are below it.
 */
unsigned int sct_calls_known(void)
{
	lockdep_assert_held(&sct_lock);
	return calls_count;
}

static bool is_absent(const char *name)
{
	const char * const *p;

	for (p = absent; *p; p++)
		if (!strcmp(*p, name))
			return true;
	return false;
}

static void want_default(const char *name, unsigned long *wanted)
{
	int id = sct_call_get(name);

	if (id >= 0)
		__set_bit(id, wanted);
	else if (id != -ENOENT || !is_absent(name))
		pr_warn(KBUILD_MODNAME ": cannot trace %s: error %d\n",
			name, id);
}

/* One by one, to name the one that cannot be traced. */
static void arm_defaults(unsigned long *wanted)
{
	struct sct_hook **hooks;
	unsigned int id, n;
	int err;

	for_each_set_bit(id, wanted, SCT_CALLS_MAX) {
		DECLARE_BITMAP(one, SCT_CALLS_MAX);

		bitmap_zero(one, SCT_CALLS_MAX);
		__set_bit(id, one);
		n = collect_hooks(one, true, &hooks);
		err = sct_hooks_arm(hooks, n);
		if (!err)
			continue;
		pr_warn(KBUILD_MODNAME ": cannot trace %s: error %d\n",
			calls[id]->name, err);
		__clear_bit(id, wanted);
	}
}

/**
 * sct_calls_init() - start to trace the default calls
 *
 * One that cannot be traced is named in the kernel's log.
 *
 * Context: Process context, may sleep.
 */
void sct_calls_init(void)
{
	DECLARE_BITMAP(wanted, SCT_CALLS_MAX);
	const char * const *member;
	size_t i;

	bitmap_zero(wanted, SCT_CALLS_MAX);
	mutex_lock(&sct_lock);
	for (i = 0; i < ARRAY_SIZE(defaults); i++)
		for (member = sct_family_members(defaults[i]); *member; member++)
			want_default(*member, wanted);
	if (sct_calls_arm(wanted))
		arm_defaults(wanted);
	sct_calls_commit(wanted);
	mutex_unlock(&sct_lock);
}

/**
 * sct_calls_exit() - remove all probes
 *
 * Context: Process context, may sleep; no reader and no writer is left.
 */
void sct_calls_exit(void)
{
	unsigned int i;

	mutex_lock(&sct_lock);
	bitmap_zero(traced, SCT_CALLS_MAX);
	unhook_but(traced);
	sct_canaries_exit();
	sct_hooks_exit();
	for (i = 0; i < calls_count; i++) {
		free_percpu(calls[i]->hook[ENTRY_NATIVE].flight);
		free_percpu(calls[i]->hook[ENTRY_COMPAT].flight);
		kvfree(calls[i]);
	}
	/* A parameter may still be written. */
	calls_count = 0;
	mutex_unlock(&sct_lock);
}
