// SPDX-License-Identifier: GPL-2.0-only
/*
 * Entry points that ftrace holds for the module, whatever records their calls.
 */
#include <linux/delay.h>
#include <linux/slab.h>

#include "entry.h"
#include "ftrace.h"

/**
 * DOC: holding
 *
 * Each entry point that ftrace knows is registered with it before a call of it
 * is recorded, and until none is. That the registration is IPMODIFY and PERMANENT
 * is what makes a block hold, whoever else is there:
 *
 * - Nobody else redirects the function: a second one (a live patch) is refused,
 *   and where one is there already, the module is.
 *
 * - A trampoline of BPF calls the function where the redirection says, not where
 *   it began. The core prepares trampolines for that when an ops is registered,
 *   not when it gets another address. So what is hooked together is registered
 *   anew, as a group of its own.
 *
 * - ftrace cannot be switched off by sysctl.
 *
 * A kprobe on the same function redirects through the same registers, but says
 * so to nobody: it is held for it. Handlers look at the kind of the hook, so a
 * hook changes its kind without a moment in which it is not held.
 */

#ifdef COMPAT_FTRACE

#define SLOTS_BITS	11	/* twice as many as there are hooks */
#define PATIENCE	100	/* milliseconds for a trampoline that is just built */

/**
 * struct sct_ftrace_group - entry points that were registered together
 * @ops: the registration
 * @members: how many there are
 * @leaving: how many of them are about to be released
 */
struct sct_ftrace_group {
	struct ftrace_ops ops;
	unsigned int members;
	unsigned int leaving;
};

/*
 * The hooks by the address that ftrace tells its handler: open addressing.
 * Entries are only ever added. The addresses are apart from the hooks, for so an
 * empty slot is one that has another address.
 */
static unsigned long ips[1 << SLOTS_BITS];
static const struct sct_hook *slots[1 << SLOTS_BITS];

/* Functions begin at multiples of 16 or so, at random ones. */
static __always_inline unsigned int first_slot(unsigned long ip)
{
	return (ip / 16) % ARRAY_SIZE(slots);
}

static noinline notrace const struct sct_hook *find_further(unsigned long ip)
{
	unsigned int i = first_slot(ip);
	unsigned long other;

	/* Pairs with smp_store_release() in add_slot(). */
	while ((other = smp_load_acquire(&ips[i])) != ip) {
		if (!other)
			return NULL;
		i = (i + 1) % ARRAY_SIZE(slots);
	}
	return slots[i];
}

NOKPROBE_SYMBOL(find_further);

static void add_slot(struct sct_hook *hook)
{
	unsigned int i = first_slot(hook->ip);

	while (ips[i]) {
		if (ips[i] == hook->ip)
			return;
		i = (i + 1) % ARRAY_SIZE(slots);
	}
	slots[i] = hook;
	/* The hook is complete before the handler can find it. */
	smp_store_release(&ips[i], hook->ip);
}

static __always_inline int decide(const struct sct_hook *hook,
				  struct ftrace_regs *fregs)
{
	/* It may change just now. READ_ONCE() would not compare in memory. */
	if (likely(data_race(hook->kind) == SCT_HOOK_FTRACE)) {
		/* First, for then there is little yet to be kept across it. */
		u64 clock = ktime_get_mono_fast_ns();

		return sct_entry_at(hook, (const struct pt_regs *)
				    ftrace_regs_get_argument(fregs, 0), clock);
	}
	return READ_ONCE(hook->kind) == SCT_HOOK_CANARY ? -SCT_CANARY : 0;
}

static void notrace on_ftrace(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	const struct sct_hook *hook;
	unsigned int i = first_slot(ip);
	int err;

	preempt_disable_notrace();
	/* Others may be added just now; what is looked for is there. */
	if (likely(data_race(ips[i]) == ip)) {
		/* Pairs with smp_store_release() in add_slot(). */
		smp_rmb();
		hook = slots[i];
	} else {
		hook = find_further(ip);
		if (!hook)
			goto out;
	}
	err = decide(hook, fregs);
	if (err)
		ftrace_regs_set_instruction_pointer(fregs, sct_stub(err));
out:
	preempt_enable_notrace();
}

static struct sct_ftrace_group *new_group(void)
{
	struct sct_ftrace_group *group = kzalloc(sizeof(*group), GFP_KERNEL);

	if (!group)
		return NULL;
	group->ops.func = on_ftrace;
	group->ops.flags = COMPAT_FTRACE_FLAGS | FTRACE_OPS_FL_IPMODIFY |
			   FTRACE_OPS_FL_PERMANENT;
	return group;
}

static void free_group(struct sct_ftrace_group *group)
{
	ftrace_set_filter(&group->ops, NULL, 0, 1);
	kfree(group);
}

/* What ftrace does not know is left to others, and is no error. */
static int add_member(struct sct_ftrace_group *group, struct sct_hook *hook)
{
	int err = compat_ftrace_ask(&group->ops, hook->addr, &hook->ip);

	if (err == -EINVAL)
		return 0;
	if (err)
		return err;
	add_slot(hook);
	hook->group = group;
	group->members++;
	return 0;
}

/* A trampoline that is just being changed cannot be asked to make room. */
static int register_group(struct sct_ftrace_group *group)
{
	int i, err;

	for (i = 0; i < PATIENCE; i++) {
		err = register_ftrace_function(&group->ops);
		if (err != -EAGAIN)
			return err;
		usleep_range(1000, 2000);
	}
	return -EBUSY;
}

static void forget(struct sct_ftrace_group *group, struct sct_hook **hooks,
		   unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (hooks[i]->group == group)
			hooks[i]->group = NULL;
	free_group(group);
}

/**
 * sct_ftrace_hold() - hold entry points that are not held yet
 * @hooks: the entry points; of those that ftrace does not know @group stays NULL
 * @n: how many
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0; else the first error, and nothing has changed: -EBUSY if somebody
 * else redirects one of them, or ftrace is switched off.
 */
int sct_ftrace_hold(struct sct_hook **hooks, unsigned int n)
{
	struct sct_ftrace_group *group;
	unsigned int i;
	int err = 0;

	lockdep_assert_held(&sct_lock);
	group = new_group();
	if (!group)
		return -ENOMEM;
	for (i = 0; i < n && !err; i++)
		err = hooks[i]->group ? 0 : add_member(group, hooks[i]);
	if (!err && group->members)
		err = register_group(group);
	if (err || !group->members)
		forget(group, hooks, n);
	return err;
}

/* An empty filter would mean every function of the kernel. */
static void leave(struct sct_hook *hook)
{
	struct sct_ftrace_group *group = hook->group;

	if (group->leaving == group->members) {
		hook->group = NULL;
		group->members--;
		if (--group->leaving)
			return;
		unregister_ftrace_function(&group->ops);
		free_group(group);
		return;
	}
	group->leaving--;
	/* What cannot be released stays a member, and is as good as hooked. */
	if (ftrace_set_filter_ip(&group->ops, hook->ip, 1, 0))
		return;
	group->members--;
	hook->group = NULL;
}

/**
 * sct_ftrace_release() - let go of entry points
 * @hooks: the entry points; those that are not held are left alone
 * @n: how many
 *
 * Groups that end are waited for, until no handler of theirs runs.
 *
 * Context: Process context, sct_lock held, may sleep.
 */
void sct_ftrace_release(struct sct_hook **hooks, unsigned int n)
{
	unsigned int i;

	lockdep_assert_held(&sct_lock);
	for (i = 0; i < n; i++)
		if (hooks[i]->group)
			hooks[i]->group->leaving++;
	for (i = 0; i < n; i++)
		if (hooks[i]->group)
			leave(hooks[i]);
}

#else /* !COMPAT_FTRACE */

int sct_ftrace_hold(struct sct_hook **hooks, unsigned int n)
{
	return 0;
}

void sct_ftrace_release(struct sct_hook **hooks, unsigned int n)
{
}

#endif
