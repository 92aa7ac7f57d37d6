/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: what its files share.
 */
#ifndef SYSCALL_TRACER_H
#define SYSCALL_TRACER_H

#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/types.h>
#include <linux/uidgid.h>

#include "record.h"
#include "stub.h"

/**
 * DOC: locking
 *
 * The lock is the mutex sct_lock, and the probe does not take it.
 *
 * Control (a write to /proc/syscall_tracer, an operation of the netlink family,
 * load, unload) holds sct_lock for one whole transaction. It guards the table
 * of calls, their kprobes, the set of traced calls and the pointer to the
 * filters. Below it come the locks of the kprobes and ftrace cores; nothing of
 * ours is taken below those.
 *
 * The probe runs on the entry of a system call, called by ftrace or by
 * kprobes, with preemption off. It takes no lock and allocates nothing. That
 * preemption is off is also what makes it an RCU reader: it reads the filters,
 * of which a table is never changed once it is published, and a new one
 * replaces it as a whole. It writes to the ring of its own CPU only, of which
 * it is the single producer; a call that interrupts another one half way
 * through the ring is counted as dropped. A call that is blocked returns
 * through the stub of the module, so unloading waits for tasks in there too.
 *
 * A reader holds sct_lock for a moment in open, to take a reference to the
 * filters. It copies the rings while they
 * are written to, and afterwards discards what was overwritten meanwhile: each
 * ring announces a record (@begin) before it touches the slot and publishes it
 * (@head) after. From then on the reader owns all that it shows. So procfs can
 * close the file under the reader when the module goes.
 *
 * The parameters that can be written are set under sct_lock; below it the mode
 * has a lock of its own, for the dead-man timer. Their files outlive the
 * unloading a little: by then there is nothing left to change.
 *
 * Delivery to the listeners of the netlink family has locks of its own, which
 * are never held together with sct_lock; see DOC: delivery in deliver.c. So has the
 * list of processes that are left out; see DOC: leaving out in left_out.c. That one
 * is taken when a netlink socket is closed, too, whoever closes it.
 *
 * Unload: first the looks at the hooks and the dead-man timer, the delivery and
 * the netlink family (which waits for operations in flight, and for sockets that are
 * just being closed), then the /proc files
 * (procfs waits for calls in flight and releases open files), then the hooks
 * (their removal waits for running handlers), then filters, calls and rings.
 * Calls that are still to return through a kretprobe are the kernel's to bring
 * home: their handler is not called any more.
 */

#define SCT_CALLS_MAX		512	/* traced once or named, since load */
#define SCT_FILTERS_MAX		128
#define SCT_WORD_MAX		63	/* characters in a word of a command */
#define SCT_PATH_MAX		255	/* bytes in a path that a filter asks for */
#define SCT_DATA_MAX		3968	/* bytes of data in a record */
#define SCT_ERRNO_MAX		SCT_STUBS

/* What the letters of a signature mean: one letter for each argument. */
#define SCT_ARG_FD		'f'	/* int */
#define SCT_ARG_DIRFD		'D'	/* int; may be AT_FDCWD */
#define SCT_ARG_INT		'i'	/* int */
#define SCT_ARG_UINT		'u'	/* unsigned int */
#define SCT_ARG_LONG		'l'	/* long, loff_t */
#define SCT_ARG_SIZE		'z'	/* size_t, unsigned long */
#define SCT_ARG_FLAGS		'x'	/* unsigned int */
#define SCT_ARG_MODE		'm'	/* umode_t */
#define SCT_ARG_POINTER		'*'	/* any other pointer, or unsigned long */
#define SCT_ARG_PATH		'p'	/* const char *, goes into the data */
#define SCT_ARG_SOCKADDR	'a'	/* struct sockaddr *, goes into the data; */
					/* the next argument is its length */
/* Of 32-bit programs, which pass 64 bits in two registers, the lower first. */
#define SCT_ARG_WIDE		'L'	/* loff_t, in this and the next one */
#define SCT_ARG_WIDE_FLAGS	'H'	/* u64, in this and the next one */
#define SCT_ARG_NONE		'-'	/* a second half, or padding */

/* Predicates of a filter, as bits of its fields. */
#define SCT_IF_PID		BIT(0)
#define SCT_IF_UID		BIT(1)
#define SCT_IF_COMM		BIT(2)
#define SCT_IF_PATH		BIT(3)

/**
 * struct sct_filter - what to do with some calls
 * @name: as the user wrote it: a family, or "=" and a call
 * @status: the verdict on calls that match, SCT_ALLOWED or SCT_BLOCKED
 * @error: what a blocked call returns, positive; 0 if the user named none
 * @fields: the predicates it has: SCT_IF_PID and so on
 * @pid: thread group, in the initial PID namespace
 * @uid: real user id, in the initial user namespace
 * @comm: the very name of the thread, zero-padded
 * @path: what a path of the call begins with
 * @path_len: bytes of @path
 * @calls: ids of the calls that it is about
 */
struct sct_filter {
	char name[SCT_WORD_MAX + 1];
	u8 status;
	u8 fields;
	u16 error;
	pid_t pid;
	uid_t uid;
	char comm[SCT_COMM_LEN];
	char path[SCT_PATH_MAX + 1];
	size_t path_len;
	DECLARE_BITMAP(calls, SCT_CALLS_MAX);
};

/**
 * struct sct_filters - all filters, in the order they are tried
 * @rcu: defers the freeing past the probes that still look
 * @users: the publication, and each reader that shows it
 * @count: filters in use
 * @first: for the id of each call, index of the first filter that is about it;
 *	SCT_FILTERS_MAX if there is none
 * @last: the same of the last one; 0 if there is none
 * @filter: the filters
 */
struct sct_filters {
	struct rcu_head rcu;
	refcount_t users;
	unsigned int count;
	u8 first[SCT_CALLS_MAX];
	u8 last[SCT_CALLS_MAX];
	struct sct_filter filter[SCT_FILTERS_MAX];
};

/**
 * struct sct_stage - what a transaction has come to
 * @filters: the filters as they would be
 * @traced: the traced calls as they would be
 * @reason: why it is refused, for the user
 */
struct sct_stage {
	struct sct_filters *filters;
	DECLARE_BITMAP(traced, SCT_CALLS_MAX);
	const char *reason;
};

/**
 * struct sct_ring_stats - the law: issued = logged + overwritten + dropped
 * @issued: calls that were counted since load
 * @logged: records in the ring
 * @overwritten: records that made room for newer ones
 * @dropped: calls that came while another one was being recorded
 * @excluded: calls that were left out, beside the law
 */
struct sct_ring_stats {
	u64 issued;
	u64 logged;
	u64 overwritten;
	u64 dropped;
	u64 excluded;
};

/**
 * struct sct_return_stats - calls that are recorded at their return
 * @in_flight: entered, and not returned yet
 * @orphaned: entered, and tracing ended before they returned
 * @missed: recorded at entry instead, because too many were in flight
 */
struct sct_return_stats {
	u64 in_flight;
	u64 orphaned;
	u64 missed;
};

struct inode;
struct sct_counts;
struct sct_hook;
struct sct_run;

/**
 * struct sct_stats - what the log kept and lost, and what is traced
 * @log: of all rings
 * @returns: of the calls that are recorded at their return
 * @missed: calls that the kernel kept from the hooks
 * @enforcing: blocked calls do not run
 * @records_returns: calls are recorded at their return
 * @traced: bits of the ids of the calls that are traced
 * @cpu: of each ring, indexed by CPU
 */
struct sct_stats {
	struct sct_ring_stats log;
	struct sct_return_stats returns;
	unsigned long missed;
	bool enforcing;
	bool records_returns;
	DECLARE_BITMAP(traced, SCT_CALLS_MAX);
	struct sct_ring_stats cpu[];
};

/**
 * struct sct_log - a picture of all rings, in order of time
 * @count: entries of @row
 * @row: the records, oldest first
 * @run: the copies of the rings that @row points into, one per CPU
 */
struct sct_log {
	size_t count;
	const struct sct_record **row;
	struct sct_run *run;
};

/* param.c: what insmod was given, and the lock */
extern struct mutex sct_lock;
extern unsigned int sct_log_entries;	/* for each CPU */
extern unsigned int sct_data_bytes;	/* of each record; a multiple of 8 */
int sct_params_check(void);
void sct_params_taken(void);
int sct_may_set_parameter(void);
kgid_t sct_group(void);
bool sct_may_read(void);

/* call.c: the calls that were named */
int sct_call_find(const char *name);
unsigned int sct_call_add(const char *name, bool has_compat);
unsigned int sct_calls_known(void);
void sct_changed(void);
u32 sct_generation(void);
const char *sct_call_name(unsigned int id);
const char *sct_call_signature(unsigned int id);
const char *sct_call_compat_signature(unsigned int id);
const char *sct_record_signature(const struct sct_record *rec);

/* mode.c: permissive and enforcing */
bool sct_enforcing(void);
void sct_mode_set(bool on);
void sct_mode_init(void);
void sct_mode_exit(void);

/* hook.c */
const char *sct_hook_name(void);

/* point.c: where calls enter */
int sct_points_get(const char *name);
unsigned long sct_points_missed(unsigned int id);
void sct_points_counts(unsigned int id, struct sct_counts *counts);
void sct_points_examine(const struct sct_filters *filters, bool more);

/* trace.c: the calls that are traced */
void sct_trace_init(void);
void sct_trace_exit(void);
void sct_traced(unsigned long *calls);
unsigned long sct_traced_missed(void);
void sct_traced_returns(struct sct_return_stats *stats);
int sct_trace_arm(const unsigned long *calls);
void sct_trace_commit(const unsigned long *calls);
void sct_trace_rollback(void);
int sct_trace_rehook(void);
bool sct_trace_live(const unsigned long *wanted);

/* entry.c: a call enters */
void sct_entry_control_file(const struct inode *inode);

/* signature.c: what the arguments of a call are */
const char *sct_signature(const char *name);
const char *sct_compat_signature(const char *name);
size_t sct_signature_room(const char *signature);

/* family.c: the names that users give to groups of calls */
const char * const *sct_family_members(const char *name);

/* ring.c: the log */
int sct_rings_init(unsigned int entries);
void sct_rings_exit(void);
void sct_ring_stats(unsigned int cpu, struct sct_ring_stats *stats);
struct sct_log *sct_log_take(void);
void sct_log_free(struct sct_log *log);

/* filter.c: the verdict on a call */
extern struct sct_filters __rcu *sct_filters_active;
int sct_filters_init(void);
void sct_filters_exit(void);
struct sct_filters *sct_filters_get(void);
void sct_filters_put(struct sct_filters *filters);
struct sct_filters *sct_filters_clone(void);
void sct_filters_publish(struct sct_filters *filters);
int sct_filters_add(struct sct_filters *filters,
		    const struct sct_filter *filter);
int sct_filters_delete(struct sct_filters *filters, const char *name);
void sct_filters_clear(struct sct_filters *filters);

/* stage.c: transactions, for all who change filters and traced calls */
int sct_refuse(struct sct_stage *stage, int err, const char *reason);
int sct_stage_begin(struct sct_stage *stage);
int sct_stage_filter(struct sct_stage *stage, struct sct_filter *filter);
int sct_stage_delete(struct sct_stage *stage, const char *name);
int sct_stage_clear(struct sct_stage *stage);
int sct_stage_trace(struct sct_stage *stage, const char *name, bool on);
int sct_stage_end(struct sct_stage *stage, int err);

/* promise.c: what is promised of the traced calls */
bool sct_returns_on(void);
const char *sct_promise_hinders(const struct sct_filters *filters,
				const unsigned long *traced);
void sct_promise_init(void);
void sct_promise_exit(void);

/* command.c: what is written to the file */
ssize_t sct_command_write(const char __user *buf, size_t count);

/* errno.c: the names of error numbers */
const char *sct_errno_name(unsigned int number);
int sct_errno_number(const char *text);

/* text.c: records and filters as text */
void sct_text_row(struct seq_file *m, const struct sct_record *rec);
void sct_text_filter(struct seq_file *m, const struct sct_filter *filter);

/* stats.c: what the log kept and lost */
struct sct_stats *sct_stats_take(void);
int sct_stats_show(struct seq_file *m, void *v);

/* proc.c: the files */
int sct_proc_init(void);
void sct_proc_exit(void);

/* event.c: the trace event */
void sct_event_emit(const struct sct_record *rec);

/* netlink.c: the family */
int sct_netlink_init(void);
void sct_netlink_exit(void);

#endif /* SYSCALL_TRACER_H */
