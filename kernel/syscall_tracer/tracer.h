/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: what its files share.
 */
#ifndef SYSCALL_TRACER_H
#define SYSCALL_TRACER_H

#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/types.h>

/**
 * DOC: locking
 *
 * There is one lock, the mutex sct_lock, and the probe does not take it.
 *
 * Control (a write to /proc/syscall_tracer, load, unload) holds sct_lock for
 * one whole transaction. It guards the table of calls, their kprobes, the set
 * of traced calls and the pointer to the filters. Below it come the locks of
 * the kprobes and ftrace cores; nothing of ours is taken below those.
 *
 * The probe runs in kprobe context: preemption off, possibly interrupts off,
 * possibly as an NMI. It takes no lock and allocates nothing. It reads the
 * filters under RCU: a table is never changed once it is published, and a new
 * one replaces it as a whole. It writes to the ring of its own CPU only, of
 * which it is the single producer; a call that interrupts another one half way
 * through the ring is counted as dropped.
 *
 * A reader holds sct_lock for a moment in open, to take a reference to the
 * filters and to sum what the probes missed. It copies the rings while they
 * are written to, and afterwards discards what was overwritten meanwhile: each
 * ring announces a record (@begin) before it touches the slot and publishes it
 * (@head) after. From then on the reader owns all that it shows. So procfs can
 * close the file under the reader when the module goes.
 *
 * Unload: first the /proc file (procfs waits for calls in flight and releases
 * open files), then the kprobes (their unregistering waits for running
 * handlers), then filters, calls and rings.
 */

#define SCT_CALLS_MAX		512	/* traced once or named, since load */
#define SCT_FILTERS_MAX		128
#define SCT_WORD_MAX		63	/* characters in a word of a command */

enum sct_status {
	SCT_ALLOWED,
	SCT_BLOCKED,
};

/**
 * struct sct_record - one system call, as the log keeps it
 * @clock: local_clock() on entry; orders records within one jiffy
 * @jiffies: jiffies on entry
 * @pid: thread group, in the initial PID namespace
 * @tid: thread, in the initial PID namespace
 * @uid: real user id, in the initial user namespace
 * @call: id of the call, see sct_call_name()
 * @cpu: where it was entered
 * @status: enum sct_status
 * @comm: name of the thread, as it chose it
 */
struct sct_record {
	u64 clock;
	unsigned long jiffies;
	pid_t pid;
	pid_t tid;
	uid_t uid;
	u16 call;
	u16 cpu;
	u8 status;
	char comm[TASK_COMM_LEN];
};

/**
 * struct sct_filter - what to do with some calls
 * @name: as the user wrote it: a family, or "=" and a call
 * @status: the verdict on calls that match
 * @calls: ids of the calls that match
 */
struct sct_filter {
	char name[SCT_WORD_MAX + 1];
	enum sct_status status;
	DECLARE_BITMAP(calls, SCT_CALLS_MAX);
};

/**
 * struct sct_filters - all filters, in the order they are tried
 * @rcu: defers the freeing past the probes that still look
 * @users: the publication, and each reader that shows it
 * @calls: ids of the calls that any filter matches
 * @count: filters in use
 * @filter: the filters
 */
struct sct_filters {
	struct rcu_head rcu;
	refcount_t users;
	DECLARE_BITMAP(calls, SCT_CALLS_MAX);
	unsigned int count;
	struct sct_filter filter[SCT_FILTERS_MAX];
};

struct sct_run;

/**
 * struct sct_log - a picture of all rings, in order of time
 * @overwritten: records that had made room for newer ones
 * @dropped: calls seen but not recorded
 * @count: entries of @row
 * @row: the records, oldest first
 * @run: the copies of the rings that @row points into, one per CPU
 */
struct sct_log {
	u64 overwritten;
	u64 dropped;
	size_t count;
	const struct sct_record **row;
	struct sct_run *run;
};

/* main.c */
extern struct mutex sct_lock;

/* call.c: the calls that are or were traced, and the probe */
void sct_calls_init(void);
void sct_calls_exit(void);
int sct_call_get(const char *name);
const char *sct_call_name(unsigned int id);
void sct_calls_traced(unsigned long *calls);
int sct_calls_arm(const unsigned long *calls);
void sct_calls_commit(const unsigned long *calls);
void sct_calls_rollback(void);
unsigned long sct_calls_missed(void);

/* family.c: the names that users give to groups of calls */
const char * const *sct_family_members(const char *name);
int sct_family_resolve(const char *name, unsigned long *calls);

/* ring.c: the log */
int sct_rings_init(unsigned int entries);
void sct_rings_exit(void);
void sct_ring_push(const struct sct_record *rec);
struct sct_log *sct_log_take(void);
void sct_log_free(struct sct_log *log);

/* filter.c: the verdict on a call */
int sct_filters_init(void);
void sct_filters_exit(void);
enum sct_status sct_filters_verdict(const struct sct_record *rec);
struct sct_filters *sct_filters_get(void);
void sct_filters_put(struct sct_filters *filters);
struct sct_filters *sct_filters_clone(void);
void sct_filters_publish(struct sct_filters *filters);
int sct_filters_add(struct sct_filters *filters, const char *name,
		    enum sct_status status, const unsigned long *calls);
int sct_filters_delete(struct sct_filters *filters, const char *name);
void sct_filters_clear(struct sct_filters *filters);

/* command.c: what is written to the file */
ssize_t sct_command_write(const char __user *buf, size_t count);

/* proc.c: the file */
int sct_proc_init(unsigned int gid);
void sct_proc_exit(void);

#endif /* SYSCALL_TRACER_H */
