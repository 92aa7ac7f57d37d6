// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fields of a task: what each one is called, and how it is read. What may
 * not or cannot be read is not known, which is not 0.
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/math64.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seqlock.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/tty.h>

#include "lister.h"

static const char * const field_names[TL_FIELDS] = {
	[TL_PID] = "pid",
	[TL_TID] = "tid",
	[TL_NSPID] = "nspid",
	[TL_PPID] = "ppid",
	[TL_PGID] = "pgid",
	[TL_SID] = "sid",
	[TL_ID] = "id",
	[TL_COMM] = "comm",
	[TL_STATE] = "state",
	[TL_LETTER] = "letter",
	[TL_KTHREAD] = "kthread",
	[TL_THREADS] = "threads",
	[TL_UID] = "uid",
	[TL_EUID] = "euid",
	[TL_GID] = "gid",
	[TL_EGID] = "egid",
	[TL_VM] = "vm",
	[TL_RSS] = "rss",
	[TL_SHARED] = "shared",
	[TL_SWAP] = "swap",
	[TL_PEAK] = "peak",
	[TL_START] = "start",
	[TL_USER] = "user",
	[TL_SYSTEM] = "system",
	[TL_MINFLT] = "minflt",
	[TL_MAJFLT] = "majflt",
	[TL_VCSW] = "vcsw",
	[TL_ICSW] = "icsw",
	[TL_PRIO] = "prio",
	[TL_NICE] = "nice",
	[TL_POLICY] = "policy",
	[TL_CPU] = "cpu",
	[TL_TTY] = "tty",
	[TL_CGROUP] = "cgroup",
	[TL_EXIT] = "exit",
	[TL_END] = "end",
	[TL_CODE] = "code",
};

/* What is read together, under one lock. */
#define FIELD(name)	BIT_ULL(TL_ ## name)
#define OF_MEMORY	(FIELD(VM) | FIELD(RSS) | FIELD(SHARED) | \
			 FIELD(SWAP) | FIELD(PEAK))
#define OF_TASK_LOCK	(OF_MEMORY | FIELD(COMM))
#define OF_USAGE	(FIELD(USER) | FIELD(SYSTEM) | FIELD(MINFLT) | \
			 FIELD(MAJFLT) | FIELD(VCSW) | FIELD(ICSW))
#define OF_CRED		(FIELD(UID) | FIELD(EUID) | FIELD(GID) | FIELD(EGID))
#define OF_RCU		(FIELD(PID) | FIELD(TID) | FIELD(NSPID) | \
			 FIELD(PPID) | FIELD(PGID) | FIELD(SID) | FIELD(ID) | \
			 OF_CRED | FIELD(CGROUP))

/**
 * tl_field_of() - find a field
 * @name: what it is called
 *
 * Context: Any.
 * Return: a &enum tl_field, or a negative errno.
 */
int tl_field_of(const char *name)
{
	return match_string(field_names, TL_FIELDS, name);
}

/**
 * tl_field_name() - what a field is called
 * @field: the field
 *
 * Context: Any.
 * Return: its name.
 */
const char *tl_field_name(enum tl_field field)
{
	return field_names[field];
}

static void know(struct tl_values *v, enum tl_field field, u64 number)
{
	v->number[field] = number;
	v->known |= BIT_ULL(field);
}

static void know_memory(struct tl_values *v, struct mm_struct *mm, u64 wanted)
{
	unsigned long rss = 0, peak = READ_ONCE(mm->hiwater_rss);

	if (wanted & (FIELD(RSS) | FIELD(PEAK)))
		rss = get_mm_rss_sum(mm);
	know(v, TL_VM, tl_kb(READ_ONCE(mm->total_vm)));
	know(v, TL_RSS, tl_kb(rss));
	know(v, TL_PEAK, tl_kb(max(rss, peak)));
	if (!(wanted & (FIELD(SHARED) | FIELD(SWAP))))
		return;
	know(v, TL_SHARED, tl_kb(get_mm_counter(mm, MM_FILEPAGES) +
				 get_mm_counter(mm, MM_SHMEMPAGES)));
	know(v, TL_SWAP, tl_kb(get_mm_counter(mm, MM_SWAPENTS)));
}

static void read_locked(struct tl_values *v, struct task_struct *task, u64 wanted)
{
	task_lock(task);
	memcpy(v->comm, task->comm, sizeof(v->comm));
	if ((wanted & OF_MEMORY) && task->mm && !(task->flags & PF_KTHREAD))
		know_memory(v, task->mm, wanted);
	task_unlock(task);
	v->comm[TASK_COMM_LEN - 1] = '\0';
	v->known |= FIELD(COMM);
}

/**
 * tl_identity() - what tells a task from all others
 * @task: the task
 * @tid: its number in the namespace that is shown
 *
 * No two tasks that live have the same identity, for no two have the same
 * number. One that gets a number that was another's has started at another
 * microsecond: 42 bits of these are 52 days, and a number would have to be
 * given again at that very microsecond.
 *
 * Context: Any.
 * Return: the identity; the number is in its lowest %TL_TID_BITS.
 */
u64 tl_identity(struct task_struct *task, pid_t tid)
{
	return task->start_boottime >> 10 << TL_TID_BITS | tid;
}

/* Who was reaped meanwhile has no numbers any more, but what it was found by. */
static void know_numbers(struct tl_values *v, const struct tl_cursor *cursor)
{
	struct task_struct *task = cursor->task;
	struct pid_namespace *ns = cursor->ns;
	bool threads = cursor->selection->threads;
	struct pid *tgid = task_tgid(task);
	struct pid *own = threads ? task_pid(task) : tgid;

	know(v, TL_TID, cursor->pid);
	know(v, TL_ID, tl_identity(task, cursor->pid));
	if (!threads)
		know(v, TL_PID, cursor->pid);
	else if (tgid)
		know(v, TL_PID, pid_nr_ns(tgid, ns));
	if (!own || !pid_alive(task))
		return;
	know(v, TL_NSPID, own->numbers[own->level].nr);
	know(v, TL_PPID, pid_nr_ns(tl_parent(task), ns));
	if (!(cursor->selection->wanted & (FIELD(PGID) | FIELD(SID))))
		return;
	know(v, TL_PGID, task_pgrp_nr_ns(task, ns));
	know(v, TL_SID, task_session_nr_ns(task, ns));
}

static void know_users(struct tl_values *v, const struct tl_cursor *cursor)
{
	struct user_namespace *user_ns = cursor->user_ns;
	const struct cred *cred = __task_cred(cursor->task);

	know(v, TL_UID, from_kuid_munged(user_ns, cred->uid));
	know(v, TL_EUID, from_kuid_munged(user_ns, cred->euid));
	know(v, TL_GID, from_kgid_munged(user_ns, cred->gid));
	know(v, TL_EGID, from_kgid_munged(user_ns, cred->egid));
}

static void read_rcu(struct tl_values *v, const struct tl_cursor *cursor)
{
	u64 wanted = cursor->selection->wanted;

	rcu_read_lock();
	know_numbers(v, cursor);
	if (wanted & OF_CRED)
		know_users(v, cursor);
#ifdef CONFIG_CGROUPS
	if (wanted & FIELD(CGROUP))
		know(v, TL_CGROUP, cgroup_id(task_dfl_cgroup(cursor->task)));
#endif
	rcu_read_unlock();
}

/**
 * struct usage - what a task, or all threads of a process, have used
 * @user: ns; by ticks, which say whose time it was but not how much
 * @system: ns, likewise
 * @runtime: ns, exact
 * @minflt: faults without input
 * @majflt: faults with input
 * @vcsw: voluntary switches
 * @icsw: involuntary switches
 */
struct usage {
	u64 user;
	u64 system;
	u64 runtime;
	unsigned long minflt;
	unsigned long majflt;
	unsigned long vcsw;
	unsigned long icsw;
};

static void use(struct usage *usage, struct task_struct *task)
{
	usage->user += READ_ONCE(task->utime);
	usage->system += READ_ONCE(task->stime);
	usage->runtime += READ_ONCE(task->se.sum_exec_runtime);
	usage->minflt += READ_ONCE(task->min_flt);
	usage->majflt += READ_ONCE(task->maj_flt);
	usage->vcsw += READ_ONCE(task->nvcsw);
	usage->icsw += READ_ONCE(task->nivcsw);
}

/*
 * Share the exact time out as the ticks say, as the kernel does in
 * cputime_adjust(). Of a share 32 bits are more than ticks are worth.
 */
static void share_out(struct usage *usage)
{
	u64 system = usage->system, all = usage->user + usage->system;

	while (all > U32_MAX) {
		all >>= 1;
		system >>= 1;
	}
	if (all)
		usage->system = mul_u64_u32_div(usage->runtime, system, all);
	else
		usage->system = 0;
	usage->user = usage->runtime - usage->system;
}

static void use_all(struct usage *usage, struct task_struct *task)
{
	struct signal_struct *sig = task->signal;
	struct task_struct *thread;

	*usage = (struct usage) {
		.user = sig->utime,
		.system = sig->stime,
		.runtime = sig->sum_sched_runtime,
		.minflt = sig->min_flt,
		.majflt = sig->maj_flt,
		.vcsw = sig->nvcsw,
		.icsw = sig->nivcsw,
	};
	for_each_thread(task, thread)
		use(usage, thread);
}

/*
 * A thread that ends is added to the sums of the process and leaves the list of
 * its threads, both in one section of stats_lock: who sees a part of it looks
 * again, with the lock. As the kernel sums times up itself, in
 * thread_group_cputime().
 */
static void use_process(struct usage *usage, struct task_struct *task)
{
	seqlock_t *lock = &task->signal->stats_lock;
	unsigned long flags;
	unsigned int seq;

	rcu_read_lock();
	seq = read_seqbegin(lock);
	use_all(usage, task);
	if (read_seqretry(lock, seq)) {
		read_seqlock_excl_irqsave(lock, flags);
		use_all(usage, task);
		read_sequnlock_excl_irqrestore(lock, flags);
	}
	rcu_read_unlock();
}

static void know_usage(struct tl_values *v, struct usage *usage)
{
	share_out(usage);
	know(v, TL_USER, usage->user);
	know(v, TL_SYSTEM, usage->system);
	know(v, TL_MINFLT, usage->minflt);
	know(v, TL_MAJFLT, usage->majflt);
	know(v, TL_VCSW, usage->vcsw);
	know(v, TL_ICSW, usage->icsw);
}

static void read_usage(struct tl_values *v, struct task_struct *task,
		       bool threads)
{
	struct usage usage = {};

	if (threads)
		use(&usage, task);
	else
		use_process(&usage, task);
	know_usage(v, &usage);
}

static dev_t terminal(struct task_struct *task)
{
	struct tty_struct *tty = task->signal->tty;

	return tty ? tty_devnum(tty) : 0;
}

/*
 * siglock keeps the terminal. It lies in a sighand, whose memory may become
 * another one's at an exec or exit, but no other thing while RCU is read: the
 * right one is locked where the task still has it afterwards.
 */
static void read_tty(struct tl_values *v, struct task_struct *task)
{
	struct sighand_struct *sighand;
	unsigned long flags;

	rcu_read_lock();
	while (!(v->known & FIELD(TTY)) &&
	       (sighand = rcu_dereference(task->sighand))) {
		spin_lock_irqsave(&sighand->siglock, flags);
		if (sighand == rcu_access_pointer(task->sighand))
			know(v, TL_TTY, new_encode_dev(terminal(task)));
		spin_unlock_irqrestore(&sighand->siglock, flags);
	}
	rcu_read_unlock();
}

/* As waitpid() has it, for the process where all of it was told to end. */
static unsigned int code_of(struct task_struct *leader)
{
	const struct signal_struct *sig = leader->signal;

	if (sig->flags & SIGNAL_GROUP_EXIT)
		return sig->group_exit_code;
	return leader->exit_code;
}

static void read_plain(struct tl_values *v, struct task_struct *task)
{
	know(v, TL_STATE, tl_task_state(task));
	know(v, TL_LETTER, "RSDTtXZPI?"[v->number[TL_STATE]]);
	know(v, TL_KTHREAD, !!(task->flags & PF_KTHREAD));
	know(v, TL_THREADS, get_nr_threads(task));
	know(v, TL_START, task->start_boottime);
	know(v, TL_PRIO, READ_ONCE(task->prio));
	know(v, TL_NICE, (s64)task_nice(task));
	know(v, TL_POLICY, READ_ONCE(task->policy));
	know(v, TL_CPU, task_cpu(task));
	/* A main thread that has ended before the others does not tell how they will. */
	if (v->number[TL_STATE] == TL_ZOMBIE && thread_group_empty(task))
		know(v, TL_CODE, code_of(task));
}

/**
 * tl_values_read() - read what was chosen of a task
 * @v: where to
 * @cursor: stands at the task; has a selection
 *
 * Context: Process context, takes task_lock() and siglock, one after the other.
 */
void tl_values_read(struct tl_values *v, const struct tl_cursor *cursor)
{
	const struct tl_selection *s = cursor->selection;
	struct task_struct *task = cursor->task;

	v->known = 0;
	if (s->wanted & OF_TASK_LOCK)
		read_locked(v, task, s->wanted);
	if (s->wanted & OF_RCU)
		read_rcu(v, cursor);
	if (s->wanted & OF_USAGE)
		read_usage(v, task, s->threads);
	if (s->wanted & FIELD(TTY))
		read_tty(v, task);
	read_plain(v, task);
}

/**
 * tl_values_gone() - what is known of a task that is gone
 * @v: where to
 * @cursor: has its identity
 *
 * Context: Any.
 */
void tl_values_gone(struct tl_values *v, const struct tl_cursor *cursor)
{
	v->known = 0;
	know(v, TL_ID, cursor->gone);
	know(v, TL_TID, cursor->gone & (BIT_ULL(TL_TID_BITS) - 1));
	if (!cursor->selection->threads)
		know(v, TL_PID, v->number[TL_TID]);
}

/* Numbers and ids as the initial namespaces have them. */
static void know_origin(struct tl_values *v, struct task_struct *leader)
{
	const struct cred *cred = __task_cred(leader);
	struct pid *own = task_tgid(leader);

	know(v, TL_PID, leader->tgid);
	know(v, TL_TID, leader->tgid);
	know(v, TL_NSPID, own->numbers[own->level].nr);
	know(v, TL_PPID, pid_nr(tl_parent(leader)));
	know(v, TL_PGID, task_pgrp_nr_ns(leader, &init_pid_ns));
	know(v, TL_SID, task_session_nr_ns(leader, &init_pid_ns));
	know(v, TL_ID, tl_identity(leader, leader->tgid));
	know(v, TL_UID, __kuid_val(cred->uid));
	know(v, TL_EUID, __kuid_val(cred->euid));
	know(v, TL_GID, __kgid_val(cred->gid));
	know(v, TL_EGID, __kgid_val(cred->egid));
#ifdef CONFIG_CGROUPS
	know(v, TL_CGROUP, cgroup_id(task_dfl_cgroup(leader)));
#endif
}

#define TRIES	8	/* of a sum, while threads of the process go on to end */

/* The helpers for it wait for the lock, where locks sleep, while it is odd. */
static const unsigned int *sequence_of(const seqlock_t *lock)
{
	return &((const seqcount_t *)&lock->seqcount)->sequence;
}

/**
 * tl_sums_sequence() - how often the sums of a process have changed
 * @task: one of its threads
 *
 * Context: Any.
 * Return: 0: never, so no thread of it has been released, and no child.
 */
unsigned int tl_sums_sequence(struct task_struct *task)
{
	return READ_ONCE(*sequence_of(&task->signal->stats_lock));
}

/* As use_process(), but without the lock: false, where it does not come to rest. */
static bool use_ended(struct usage *usage, struct task_struct *task)
{
	const unsigned int *count = sequence_of(&task->signal->stats_lock);
	unsigned int before, left = TRIES;

	do {
		/* Pairs with the barriers of write_seqlock() and its end. */
		before = smp_load_acquire(count) & ~1;
		use_all(usage, task);
		/* What was summed up is of before the second look. */
		smp_rmb();
		if (READ_ONCE(*count) == before)
			return true;
	} while (--left);
	return false;
}

/**
 * tl_values_ended() - what is known of a process as its last thread ends
 * @v: where to
 * @task: that thread, the current one
 *
 * What takes a lock that may sleep is not known. The name is read without:
 * nobody but the process itself, and who writes it by /proc, may change it.
 * The time is that of the beginning: of two that read, the later one knows more.
 *
 * Context: Process context, preemption may be off.
 */
void tl_values_ended(struct tl_values *v, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct usage usage;
	bool is_whole;

	v->known = 0;
	know(v, TL_END, ktime_get_boottime_ns());
	rcu_read_lock();
	know_origin(v, leader);
	is_whole = use_ended(&usage, leader);
	rcu_read_unlock();
	if (is_whole)
		know_usage(v, &usage);
	read_plain(v, leader);
	know(v, TL_STATE, TL_DEAD);
	know(v, TL_LETTER, 'X');
	know(v, TL_CODE, code_of(leader));
	know(v, TL_PEAK, tl_kb(READ_ONCE(leader->signal->maxrss)));
	if (leader->flags & PF_KTHREAD)
		v->known &= ~FIELD(PEAK);
	v->known &= ~FIELD(THREADS);
	memcpy(v->comm, leader->comm, sizeof(v->comm));
	v->comm[TASK_COMM_LEN - 1] = '\0';
	v->known |= FIELD(COMM);
}
