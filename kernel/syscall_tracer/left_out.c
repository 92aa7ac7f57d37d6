// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes whose calls are left out: listeners, and whom they hand records to.
 */
#include <linux/errno.h>
#include <linux/kprobes.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>

#include "left_out.h"
#include "tracer.h"

/**
 * DOC: leaving out
 *
 * What a listener calls to take its records is news to nobody, and makes records
 * again; so does what it hands them to. So a process that may listen may have its
 * calls left out, and those of another one: they are neither recorded nor issued,
 * but counted as excluded. It takes what joining takes, everybody who may read
 * sees whose calls are left out, and filters hold: a call that one of them blocks
 * is recorded as any other.
 *
 * A process is known by its struct pid, of which a reference is held. So no other
 * process is ever taken for it; one that has ended matches nothing, and is not
 * shown. That of the process is what its threads, and not its children, have in
 * common. It ends with the socket by which it was asked for, too.
 *
 * The probe takes no lock: it compares pointers, and looks at nothing behind them.
 * A place that is given up is empty before the reference is.
 */

#define PLACES		SCT_LEFT_OUT_MAX

/**
 * struct scratch - where a call is judged that may not have to be recorded
 * @used: just now
 * @rec: room for its record, and its data
 */
struct scratch {
	bool used;
	struct sct_record rec;
};

DEFINE_STATIC_KEY_FALSE(sct_leaving_out);

/* Guards what follows; but the probe reads @places. */
static DEFINE_MUTEX(left_out_lock);
static struct pid *places[PLACES];
static u32 ports[PLACES];	/* of the sockets */
static struct scratch __percpu *scratches;

/**
 * sct_left_out_now() - whether the calls of this process are left out
 *
 * Context: Any that belongs to the calling task, with preemption off.
 * Return: True if so.
 */
bool sct_left_out_now(void)
{
	const struct pid *mine = task_tgid(current);
	unsigned int i;

	for (i = 0; i < PLACES; i++)
		if (READ_ONCE(places[i]) == mine)
			return true;
	return false;
}

NOKPROBE_SYMBOL(sct_left_out_now);

/**
 * sct_left_out_borrow() - borrow room for a record outside of the log
 *
 * Context: As sct_left_out_now(), which was true.
 * Return: The room, for sct_left_out_return() on the same CPU before preemption is
 * on; NULL if a call that this one interrupts has it.
 */
struct sct_record *sct_left_out_borrow(void)
{
	struct scratch *scratch = this_cpu_ptr(scratches);

	if (scratch->used)
		return NULL;
	WRITE_ONCE(scratch->used, true);
	return &scratch->rec;
}

NOKPROBE_SYMBOL(sct_left_out_borrow);

/**
 * sct_left_out_return() - give back what was borrowed
 *
 * Context: As sct_left_out_borrow().
 */
void sct_left_out_return(void)
{
	WRITE_ONCE(this_cpu_ptr(scratches)->used, false);
}

NOKPROBE_SYMBOL(sct_left_out_return);

static bool is_gone(unsigned int place)
{
	return !pid_has_task(places[place], PIDTYPE_TGID);
}

static void give_up(unsigned int place)
{
	struct pid *pid = places[place];

	lockdep_assert_held(&left_out_lock);
	WRITE_ONCE(places[place], NULL);
	put_pid(pid);
}

/* Gives up the places of who has ended, and if @port is one, of who asked by it. */
static unsigned int tidy(u32 port)
{
	unsigned int i, left = 0;

	for (i = 0; i < PLACES; i++) {
		if (!places[i])
			continue;
		if (is_gone(i) || ports[i] == port)
			give_up(i);
		else
			left++;
	}
	if (!left)
		static_branch_disable(&sct_leaving_out);
	return left;
}

static int find_place(const struct pid *pid, u32 port)
{
	int i, empty = -ENOSPC;

	for (i = PLACES - 1; i >= 0; i--) {
		if (places[i] == pid && ports[i] == port)
			return -EEXIST;
		if (!places[i])
			empty = i;
	}
	return empty;
}

static int alloc_scratches(void)
{
	size_t size = sizeof(struct scratch) + sct_data_bytes;

	if (!scratches)
		scratches = __alloc_percpu(size, __alignof__(struct scratch));
	return scratches ? 0 : -ENOMEM;
}

static int add(struct pid *pid, u32 port)
{
	int place, err = alloc_scratches();

	lockdep_assert_held(&left_out_lock);
	if (err)
		return err;
	tidy(0);
	place = find_place(pid, port);
	if (place < 0)
		return place == -EEXIST ? 0 : place;
	ports[place] = port;
	WRITE_ONCE(places[place], get_pid(pid));
	static_branch_enable(&sct_leaving_out);
	return 0;
}

static struct pid *get_process(pid_t number)
{
	struct pid *pid;

	rcu_read_lock();
	pid = number ? find_pid_ns(number, &init_pid_ns) : task_tgid(current);
	/* A thread that is not the first one of its process is none. */
	if (pid)
		pid = pid_has_task(pid, PIDTYPE_TGID) ? get_pid(pid) : NULL;
	rcu_read_unlock();
	return pid;
}

/**
 * sct_left_out_add() - leave out the calls of a process from now on
 * @number: its number in the initial PID namespace; 0 is the calling one
 * @port: of the socket by which it is asked for; not 0
 *
 * Context: Process context, may sleep.
 * Return: 0, also if they are left out already; -ESRCH, -ENOSPC, -ENOMEM.
 */
int sct_left_out_add(pid_t number, u32 port)
{
	struct pid *pid = get_process(number);
	int err;

	if (!pid)
		return -ESRCH;
	mutex_lock(&left_out_lock);
	err = add(pid, port);
	mutex_unlock(&left_out_lock);
	put_pid(pid);
	return err;
}

/**
 * sct_left_out_close() - a socket was closed: who has asked by it is recorded again
 * @port: of the socket
 *
 * Context: Process context, may sleep.
 */
void sct_left_out_close(u32 port)
{
	/* Who has asked by this socket has done so before it was closed. */
	if (!static_key_enabled(&sct_leaving_out))
		return;
	mutex_lock(&left_out_lock);
	tidy(port);
	mutex_unlock(&left_out_lock);
}

/* A process may have asked by several sockets. */
static unsigned int first_of(const struct pid *pid)
{
	unsigned int i = 0;

	while (places[i] != pid)
		i++;
	return i;
}

/**
 * sct_left_out_pids() - whose calls are left out
 * @pids: gets the processes, in the initial PID namespace; there is room for
 *	SCT_LEFT_OUT_MAX
 *
 * Context: Process context, may sleep.
 * Return: How many.
 */
unsigned int sct_left_out_pids(pid_t *pids)
{
	unsigned int i, n = 0;

	mutex_lock(&left_out_lock);
	for (i = 0; i < PLACES; i++)
		if (places[i] && !is_gone(i) && first_of(places[i]) == i)
			pids[n++] = pid_nr(places[i]);
	mutex_unlock(&left_out_lock);
	return n;
}

/**
 * sct_left_out_exit() - leave out nobody any more
 *
 * Context: Process context, may sleep; nobody can ask for it any more.
 */
void sct_left_out_exit(void)
{
	unsigned int i;

	mutex_lock(&left_out_lock);
	for (i = 0; i < PLACES; i++)
		if (places[i])
			give_up(i);
	static_branch_disable(&sct_leaving_out);
	mutex_unlock(&left_out_lock);
	/* A probe may be just about to use what it has borrowed. */
	synchronize_rcu();
	free_percpu(scratches);
}
