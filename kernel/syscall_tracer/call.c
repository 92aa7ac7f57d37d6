// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls: the system calls that are or were traced, and the probe on each.
 */
#include <linux/bitmap.h>
#include <linux/cred.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/ratelimit.h>
#include <linux/sched/clock.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "tracer.h"

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

/**
 * struct call - a system call that was named once
 * @kp: the probe on its entry point
 * @hooked: whether @kp is registered, armed or not
 * @missed: what earlier registrations of @kp missed
 * @id: index in calls[]
 * @name: what users call it
 * @symbol: its entry point
 *
 * It stays until the module goes, for the records that refer to it.
 */
struct call {
	struct kprobe kp;
	bool hooked;
	unsigned long missed;
	unsigned int id;
	char name[SCT_WORD_MAX + 1];
	char symbol[sizeof(SYMBOL_PREFIX) + SCT_WORD_MAX];
};

/* Guarded by sct_lock; but an entry, once there, does not change. */
static struct call *calls[SCT_CALLS_MAX];
static unsigned int calls_count;

/* Guarded by sct_lock: the calls with an armed probe, between transactions. */
static DECLARE_BITMAP(traced, SCT_CALLS_MAX);

static DEFINE_RATELIMIT_STATE(blocked_limit, 5 * HZ, 50);

static void report_blocked(const struct call *call, pid_t pid)
{
	if (___ratelimit(&blocked_limit, KBUILD_MODNAME))
		pr_info(KBUILD_MODNAME ": Blocked %s() from PID %d\n",
			call->name, pid);
}

NOKPROBE_SYMBOL(report_blocked);

/*
 * The probe. get_task_comm() takes a lock in older kernels, which sleeps on
 * PREEMPT_RT; the plain copy may mix two names when another thread is just
 * changing it, and has its terminator all the same.
 */
static int on_entry(struct kprobe *kp, struct pt_regs *regs)
{
	const struct call *call = container_of(kp, struct call, kp);
	struct sct_record rec = {
		.clock = local_clock(),
		.jiffies = jiffies,
		.pid = task_tgid_nr(current),
		.tid = task_pid_nr(current),
		.uid = __kuid_val(current_uid()),
		.call = call->id,
		.cpu = smp_processor_id(),
	};

	memcpy(rec.comm, current->comm, sizeof(rec.comm) - 1);
	rec.status = sct_filters_verdict(&rec);
	sct_ring_push(&rec);
	if (rec.status == SCT_BLOCKED)
		report_blocked(call, rec.pid);
	return 0;
}

NOKPROBE_SYMBOL(on_entry);

/* Registers the probe without arming it: so it shows whether there is one. */
static int hook(struct call *call)
{
	int err;

	if (call->hooked)
		return 0;
	memset(&call->kp, 0, sizeof(call->kp));
	call->kp.symbol_name = call->symbol;
	call->kp.pre_handler = on_entry;
	call->kp.flags = KPROBE_FLAG_DISABLED;
	err = register_kprobe(&call->kp);
	call->hooked = !err;
	return err;
}

/* Unregisters the probes of all calls but those to keep. */
static void unhook_but(const unsigned long *keep)
{
	static struct kprobe *probes[SCT_CALLS_MAX];
	unsigned int i, n = 0;

	lockdep_assert_held(&sct_lock);
	for (i = 0; i < calls_count; i++)
		if (calls[i]->hooked && !test_bit(i, keep))
			probes[n++] = &calls[i]->kp;
	if (!n)
		return;
	unregister_kprobes(probes, n);
	for (i = 0; i < n; i++) {
		struct call *call = container_of(probes[i], struct call, kp);

		call->missed += call->kp.nmissed;
		call->kp.nmissed = 0;
		call->hooked = false;
	}
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

/* Returns the id of the new call, or an error if the kernel does not have it */
static int create(const char *name, const char *symbol)
{
	struct call *call;
	int err;

	if (calls_count == SCT_CALLS_MAX)
		return -ENOSPC;
	call = kzalloc(sizeof(*call), GFP_KERNEL);
	if (!call)
		return -ENOMEM;
	call->id = calls_count;
	strscpy(call->name, name, sizeof(call->name));
	snprintf(call->symbol, sizeof(call->symbol), SYMBOL_PREFIX "%s",
		 symbol);
	err = hook(call);
	if (err) {
		kfree(call);
		return err;
	}
	calls[calls_count++] = call;
	return call->id;
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

static int arm(struct call *call)
{
	int err = hook(call);

	return err ?: enable_kprobe(&call->kp);
}

/**
 * sct_calls_arm() - start to trace calls
 * @wanted: their ids; those that are traced already may be among them
 *
 * To be followed by sct_calls_commit() or, on an error, sct_calls_rollback().
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0, or the first error of kprobes.
 */
int sct_calls_arm(const unsigned long *wanted)
{
	unsigned int id;
	int err;

	lockdep_assert_held(&sct_lock);
	for_each_set_bit(id, wanted, SCT_CALLS_MAX) {
		err = test_bit(id, traced) ? 0 : arm(calls[id]);
		if (err)
			return err;
	}
	return 0;
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
		sum += calls[i]->missed + READ_ONCE(calls[i]->kp.nmissed);
	return sum;
}

static bool is_absent(const char *name)
{
	const char * const *p;

	for (p = absent; *p; p++)
		if (!strcmp(*p, name))
			return true;
	return false;
}

static void trace_default(const char *name)
{
	int id = sct_call_get(name);
	int err = id < 0 ? id : arm(calls[id]);

	if (!err)
		__set_bit(id, traced);
	else if (err != -ENOENT || !is_absent(name))
		pr_warn(KBUILD_MODNAME ": cannot trace %s: error %d\n",
			name, err);
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
	const char * const *member;
	size_t i;

	mutex_lock(&sct_lock);
	for (i = 0; i < ARRAY_SIZE(defaults); i++)
		for (member = sct_family_members(defaults[i]); *member; member++)
			trace_default(*member);
	unhook_but(traced);
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
	for (i = 0; i < calls_count; i++)
		kfree(calls[i]);
	mutex_unlock(&sct_lock);
}
