// SPDX-License-Identifier: GPL-2.0-only
/*
 * One process: what can be read of it, without sleeping for it and without
 * trusting it.
 */
#include <linux/cred.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/string.h>

#include "lister.h"

/**
 * tl_escape() - make one printable word of a command name
 * @to: at least TL_COMMAND_SIZE bytes
 * @comm: the name, at most TASK_COMM_LEN - 1 bytes
 *
 * An empty name becomes an escaped zero byte, or a column would be missing.
 *
 * Context: Any.
 */
void tl_escape(char *to, const char *comm)
{
	do {
		unsigned char c = *comm;

		if (c > ' ' && c <= '~' && c != '\\') {
			*to++ = c;
			continue;
		}
		*to++ = '\\';
		*to++ = '0' + (c >> 6);
		*to++ = '0' + ((c >> 3) & 7);
		*to++ = '0' + (c & 7);
	} while (*comm && *++comm);
	*to = '\0';
}

/**
 * tl_parent() - the process that a process is a child of
 * @task: leader of the child
 *
 * A parent may exit, hand its children on and be reaped between the two reads.
 * Then it has no number any more and the child's new parent is to be asked.
 *
 * Context: Under rcu_read_lock(), which protects the result.
 * Return: the parent's thread group, NULL if the child has been reaped.
 */
struct pid *tl_parent(struct task_struct *task)
{
	struct task_struct *parent;
	struct pid *pid;

	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "parent read without RCU");
	do {
		if (!pid_alive(task))
			return NULL;
		parent = rcu_dereference(task->real_parent);
		pid = task_tgid(parent);
		/*
		 * Pairs with tasklist_lock being released after the children
		 * were handed on and taken to unhash the parent: who sees the
		 * second sees the first.
		 */
		smp_rmb();
	} while (!pid && parent != rcu_access_pointer(task->real_parent));
	return pid;
}

/**
 * tl_task_state() - the state of a process
 * @task: its leader
 *
 * The kernel's own fold of __state and exit_state: an exit state wins, TASK_IDLE
 * is told from an uninterruptible sleep, and the states that a locking or
 * freezing kernel invents for itself count as one.
 *
 * Context: Any.
 * Return: the state.
 */
enum tl_state tl_task_state(struct task_struct *task)
{
	return min_t(unsigned int, task_state_index(task), TL_UNKNOWN);
}

/**
 * tl_state_name() - the name of a state
 * @state: the state
 *
 * Context: Any.
 * Return: the name, in capitals.
 */
const char *tl_state_name(enum tl_state state)
{
	static const char * const names[] = {
		[TL_RUNNING] = "RUNNING",
		[TL_SLEEPING] = "SLEEPING",
		[TL_DISK_SLEEP] = "DISK_SLEEP",
		[TL_STOPPED] = "STOPPED",
		[TL_TRACED] = "TRACED",
		[TL_DEAD] = "DEAD",
		[TL_ZOMBIE] = "ZOMBIE",
		[TL_PARKED] = "PARKED",
		[TL_IDLE] = "IDLE",
		[TL_UNKNOWN] = "UNKNOWN",
	};

	return names[state];
}

/**
 * tl_policy_name() - the name of a scheduling policy
 * @policy: as the kernel numbers it
 *
 * Context: Any.
 * Return: the name, in capitals.
 */
const char *tl_policy_name(unsigned int policy)
{
	static const char * const names[] = {
		[SCHED_NORMAL] = "NORMAL",
		[SCHED_FIFO] = "FIFO",
		[SCHED_RR] = "RR",
		[SCHED_BATCH] = "BATCH",
		[SCHED_IDLE] = "IDLE",
		[SCHED_DEADLINE] = "DEADLINE",
		[SCHED_EXT] = "EXT",
	};

	if (policy < ARRAY_SIZE(names) && names[policy])
		return names[policy];
	return "UNKNOWN";
}

/*
 * Both are 0 for a process that has no memory of its own: it has given it back,
 * or it is a kernel thread, perhaps with somebody else's at the moment.
 * task_lock() keeps the mm in place, so no reference is needed, whose release
 * could be the last one and sleep.
 */
static void read_memory(struct task_struct *task, unsigned long *vm,
			unsigned long *rss)
{
	struct mm_struct *mm = task->mm;

	lockdep_assert_held(&task->alloc_lock);
	*vm = 0;
	*rss = 0;
	if (mm && !(task->flags & PF_KTHREAD)) {
		*vm = READ_ONCE(mm->total_vm);
		*rss = get_mm_rss_sum(mm);
	}
}

/**
 * tl_task_memory() - the memory of a process
 * @task: its leader, referenced
 * @vm: set to the size of the address space, in pages
 * @rss: set to the pages of it that are in memory
 *
 * Context: Process context, takes task_lock().
 */
void tl_task_memory(struct task_struct *task, unsigned long *vm,
		    unsigned long *rss)
{
	task_lock(task);
	read_memory(task, vm, rss);
	task_unlock(task);
}

/**
 * tl_task_read() - read what all views show of a process
 * @t: where to
 * @task: leader of the process, referenced
 * @ns: in which the parent is to be numbered
 *
 * The name is copied whole, with what is behind its end, under the lock that is
 * taken for the memory anyway: get_task_comm() would take it once more.
 *
 * Context: Process context, takes task_lock().
 */
void tl_task_read(struct tl_task *t, struct task_struct *task,
		  struct pid_namespace *ns)
{
	char comm[TASK_COMM_LEN];
	const struct cred *cred;

	task_lock(task);
	memcpy(comm, task->comm, sizeof(comm));
	read_memory(task, &t->vm, &t->rss);
	task_unlock(task);
	comm[TASK_COMM_LEN - 1] = '\0';
	tl_escape(t->command, comm);
	t->state = tl_task_state(task);
	t->threads = get_nr_threads(task);

	rcu_read_lock();
	t->ppid = pid_nr_ns(tl_parent(task), ns);
	cred = __task_cred(task);
	t->uid = cred->uid;
	t->gid = cred->gid;
	rcu_read_unlock();
}
