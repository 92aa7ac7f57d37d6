// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls that are recorded at their return, with what they returned.
 */
#include <linux/build_bug.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/timekeeping.h>

#include "entry.h"
#include "probe.h"
#include "returns.h"

#define RETURNS_MAX	4096

/**
 * struct attempt - what became of a call in the handler of its entry
 * @taken: there was an instance for it
 * @err: what it is to return instead of running
 */
struct attempt {
	bool taken;
	int err;
};

static DEFINE_PER_CPU(struct attempt, attempts);
static DEFINE_PER_CPU(u64, returns_missed);

/* Guarded by sct_lock. */
static u64 orphaned;

static unsigned int returns_max = 128;

static int on_instance(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	struct kretprobe *rp = get_kretprobe(ri);
	const struct sct_hook *hook = container_of(rp, struct sct_hook, rp);
	struct attempt *attempt = this_cpu_ptr(&attempts);
	struct sct_record *rec = (struct sct_record *)ri->data;

	attempt->taken = true;
	attempt->err = sct_entry_fill(hook, sct_caller(regs), rec,
				      sct_data_bytes);
	if (attempt->err) {
		sct_entry_push(hook, rec);
		return 1;
	}
	if (sct_left_out() && rec->status == SCT_ALLOWED) {
		this_cpu_inc(sct_rings.excluded);
		return 1;
	}
	/* Until it returns: the memory that it entered from, to be compared. */
	rec->latency = (unsigned long)current->mm;
	this_cpu_inc(hook->flight->entered);
	return 0;
}

NOKPROBE_SYMBOL(on_instance);

static int on_return(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	struct kretprobe *rp = get_kretprobe(ri);
	struct sct_record *rec = (struct sct_record *)ri->data;
	const struct sct_hook *hook;
	bool same_memory;
	u64 now;

	if (!rp)
		return 0;
	preempt_disable_notrace();
	hook = container_of(rp, struct sct_hook, rp);
	same_memory = rec->latency == (unsigned long)current->mm;
	rec->ret = (long)regs_return_value(regs);
	now = ktime_get_mono_fast_ns();
	/* That clock may go back a little from one CPU to another. */
	rec->latency = now > rec->clock ? now - rec->clock : 0;
	rec->flags |= SCT_RETURNED;
	/*
	 * By now the kernel itself has read it; but where execve() has put a new
	 * image in its place, another program's memory would be read.
	 */
	if (rec->flags & SCT_UNREADABLE && same_memory)
		sct_entry_capture(hook, rec, sct_data_bytes);
	sct_entry_push(hook, rec);
	this_cpu_inc(hook->flight->returned);
	preempt_enable_notrace();
	return 0;
}

NOKPROBE_SYMBOL(on_return);

/*
 * A kretprobe cannot keep the function from running, nor does it say which
 * call it had no instance for. So its own handler is called from this one.
 */
static int on_entry(struct kprobe *kp, struct pt_regs *regs)
{
	struct kretprobe *rp = container_of(kp, struct kretprobe, kp);
	const struct sct_hook *hook = container_of(rp, struct sct_hook, rp);
	struct attempt *attempt = this_cpu_ptr(&attempts);

	if (READ_ONCE(hook->kind) != SCT_HOOK_RETURN)
		return 0;
	attempt->taken = false;
	attempt->err = 0;
	hook->retprobe_entry(kp, regs);
	if (!attempt->taken) {
		if (!sct_left_out())
			this_cpu_inc(returns_missed);
		attempt->err = sct_entry(hook, sct_caller(regs));
	}
	return attempt->err ? sct_return_at_once(regs, attempt->err) : 0;
}

NOKPROBE_SYMBOL(on_entry);

/**
 * sct_return_arm() - hook entry and return of a call
 * @hook: the entry point; its kind is yet to become SCT_HOOK_RETURN
 *
 * Context: Process context, sct_lock held, may sleep.
 * Return: 0, -ENOMEM, or what kretprobes say.
 */
int sct_return_arm(struct sct_hook *hook)
{
	struct kretprobe *rp = &hook->rp;
	int err;

	BUILD_BUG_ON(sizeof(struct sct_record) + SCT_DATA_MAX >
		     KRETPROBE_MAX_DATA_SIZE);
	if (!hook->flight)
		hook->flight = alloc_percpu(struct sct_flight);
	if (!hook->flight)
		return -ENOMEM;
	memset(rp, 0, sizeof(*rp));
	rp->kp.addr = (kprobe_opcode_t *)hook->addr;
	rp->kp.flags = KPROBE_FLAG_DISABLED;
	rp->entry_handler = on_instance;
	rp->handler = on_return;
	rp->maxactive = returns_max;
	rp->data_size = sizeof(struct sct_record) + sct_data_bytes;
	err = register_kretprobe(rp);
	if (err)
		return err;
	hook->retprobe_entry = rp->kp.pre_handler;
	rp->kp.pre_handler = on_entry;
	if (!hook->by_ftrace)
		rp->kp.post_handler = sct_probe_post;
	err = enable_kretprobe(rp);
	if (err) {
		unregister_kretprobe(rp);
		return err;
	}
	return 0;
}

static u64 count_in_flight(const struct sct_hook *hook)
{
	u64 entered = 0, returned = 0;
	unsigned int cpu;

	if (!hook->flight)
		return 0;
	/* Returns first: so a call between the two is not negative. */
	for_each_possible_cpu(cpu)
		returned += READ_ONCE(per_cpu_ptr(hook->flight, cpu)->returned);
	for_each_possible_cpu(cpu)
		entered += READ_ONCE(per_cpu_ptr(hook->flight, cpu)->entered);
	return entered - returned;
}

/**
 * sct_return_disarmed() - account for the calls whose return is not seen
 * @hook: the entry point, unhooked
 *
 * Context: Process context, sct_lock held.
 */
void sct_return_disarmed(struct sct_hook *hook)
{
	unsigned int cpu;

	lockdep_assert_held(&sct_lock);
	orphaned += count_in_flight(hook);
	for_each_possible_cpu(cpu)
		memset(per_cpu_ptr(hook->flight, cpu), 0,
		       sizeof(*hook->flight));
}

/**
 * sct_returns_stats() - count the calls that are on their way
 * @hooks: the entry points of all calls
 * @n: how many
 * @stats: gets the counts
 *
 * Context: Process context, sct_lock held.
 */
void sct_returns_stats(struct sct_hook **hooks, unsigned int n,
		       struct sct_return_stats *stats)
{
	unsigned int cpu, i;

	lockdep_assert_held(&sct_lock);
	memset(stats, 0, sizeof(*stats));
	for (i = 0; i < n; i++)
		stats->in_flight += count_in_flight(hooks[i]);
	for_each_possible_cpu(cpu)
		stats->missed += READ_ONCE(per_cpu(returns_missed, cpu));
	stats->orphaned = orphaned;
}

static int set_returns_max(const char *value, const struct kernel_param *kp)
{
	return param_set_uint_minmax(value, kp, 1, RETURNS_MAX);
}

static const struct kernel_param_ops returns_max_ops = {
	.set	= set_returns_max,
	.get	= param_get_uint,
};

module_param_cb(returns_max, &returns_max_ops, &returns_max, 0444);
MODULE_PARM_DESC(returns_max, "calls of one name that may be in flight with returns, 1 to 4096");
