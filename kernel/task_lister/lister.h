/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * task_lister: what its files share.
 */
#ifndef TASK_LISTER_H
#define TASK_LISTER_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/types.h>
#include <linux/uidgid.h>

/**
 * DOC: locking and lifetimes
 *
 * What the module knows hangs on an open file and goes with it, but for who has
 * ended: copies in a ring that ended.c has, under a raw spinlock, for ends are
 * told where nobody may sleep. A mutex guards how many pictures each user holds,
 * see user.c. Neither is held while any other is taken.
 *
 * Finding. Processes are looked up by number, through the PID namespace of the
 * procfs mount, in RCU read-side sections of at most %SCAN_BATCH numbers. The
 * superblock holds the namespace, the open file holds the superblock. A section
 * ends with a reference on the task found; between two sections only the number
 * is kept. A number is a cursor that no exit can invalidate: the next process
 * is the one with the least number not below it.
 *
 * Showing. The reference keeps the task_struct, its signal_struct and its
 * struct cred, not what the task gives up as it exits: its mm is used under
 * task_lock() only, which exit and exec take to change it; its parent and its
 * struct pid under rcu_read_lock() only, and only while pid_alive(). No lock is
 * held across a sleep and task_lock() is never nested. References are dropped
 * before seq_file copies to the reader.
 *
 * Tree. See DOC: one consistent picture, in tree.c.
 *
 * Unload. Open files do not pin the module. Removing an entry makes procfs wait
 * for calls in flight, release the open files, which frees what they hold, and
 * fail later calls with EIO without entering the module.
 */

/* Rules are 132 '=' wide; titles are put between two runs of 20. */
#define TL_RULE20	"===================="
#define TL_RULE		TL_RULE20 TL_RULE20 TL_RULE20 TL_RULE20 TL_RULE20 \
			TL_RULE20 "============"
#define TL_TITLE(text)	TL_RULE20 " " text " " TL_RULE20

/* Every byte of a command name as an octal escape, and the end. */
#define TL_COMMAND_SIZE	(4 * (TASK_COMM_LEN - 1) + 1)

/* The state of a process, numbered like task_state_index(). */
enum tl_state {
	TL_RUNNING,
	TL_SLEEPING,
	TL_DISK_SLEEP,
	TL_STOPPED,
	TL_TRACED,
	TL_DEAD,
	TL_ZOMBIE,
	TL_PARKED,
	TL_IDLE,
	TL_UNKNOWN,
};

/**
 * struct tl_task - what all views show of a process
 * @command: name, escaped
 * @ppid: number of the parent process in the namespace asked, 0 if not in it
 * @state: of the thread group leader
 * @vm: size of the address space, in pages
 * @rss: pages of it that are in memory
 * @threads: number of threads
 * @uid: real user id
 * @gid: real group id
 */
struct tl_task {
	char command[TL_COMMAND_SIZE];
	pid_t ppid;
	enum tl_state state;
	unsigned long vm;
	unsigned long rss;
	int threads;
	kuid_t uid;
	kgid_t gid;
};

enum tl_place {
	TL_HEADER,
	TL_PROCESS,
	TL_GONE,
	TL_FOOTER,
};

/* What can be chosen of a task: docs/abi.md, Choosing, says what each one is. */
enum tl_field {
	TL_PID,
	TL_TID,
	TL_NSPID,
	TL_PPID,
	TL_PGID,
	TL_SID,
	TL_ID,
	TL_COMM,
	TL_STATE,
	TL_LETTER,
	TL_KTHREAD,
	TL_THREADS,
	TL_UID,
	TL_EUID,
	TL_GID,
	TL_EGID,
	TL_VM,
	TL_RSS,
	TL_SHARED,
	TL_SWAP,
	TL_PEAK,
	TL_START,
	TL_USER,
	TL_SYSTEM,
	TL_MINFLT,
	TL_MAJFLT,
	TL_VCSW,
	TL_ICSW,
	TL_PRIO,
	TL_NICE,
	TL_POLICY,
	TL_CPU,
	TL_TTY,
	TL_CGROUP,
	TL_EXIT,
	TL_END,
	TL_CODE,
	TL_FIELDS,
};

enum tl_format {
	TL_TABLE,
	TL_JSONL,
	TL_BIN,
};

#define TL_RANGES	32	/* numbers, or ranges of them, in one word */

/**
 * struct tl_range - numbers that are asked for
 * @first: the least
 * @last: the greatest
 */
struct tl_range {
	u32 first;
	u32 last;
};

/**
 * struct tl_ranges - all numbers that one word asks for
 * @count: of @range; 0: any number
 * @range: in the order in which they were written
 */
struct tl_ranges {
	unsigned int count;
	struct tl_range range[TL_RANGES];
};

/**
 * struct tl_key - what stands before a value in JSON
 * @text: a comma or a brace, the name of the column in quotes, a colon
 * @size: bytes of it
 */
struct tl_key {
	char text[15];
	u8 size;
};

/**
 * struct tl_selection - which tasks are shown to an open file, and how
 * @format: of rows
 * @threads: a row for each thread, not for each process
 * @kthreads: kernel threads, too
 * @is_since: only what changed since a pass
 * @since: number of that pass
 * @is_ended: not tasks, but those that have ended
 * @ended: the least number of an end that is of interest
 * @states: bits of &enum tl_state
 * @wanted: bits of &enum tl_field that are read of each task
 * @columns: how many are in @column
 * @column: a &enum tl_field each
 * @key: of each column
 * @pid: of the process
 * @ppid: of its parent
 * @uid: real ones
 * @comm: the escaped name, or where it begins
 * @comm_length: bytes of @comm; 0: any name
 * @comm_begins: the name may go on
 */
struct tl_selection {
	enum tl_format format;
	bool threads;
	bool kthreads;
	bool is_since;
	u64 since;
	bool is_ended;
	u64 ended;
	unsigned int states;
	u64 wanted;
	unsigned int columns;
	u8 column[TL_FIELDS];
	struct tl_key key[TL_FIELDS];
	struct tl_ranges pid;
	struct tl_ranges ppid;
	struct tl_ranges uid;
	char comm[TL_COMMAND_SIZE];
	size_t comm_length;
	bool comm_begins;
};

/**
 * struct tl_pass - one look at all tasks, by which a reader knows that it has all
 * @number: of passes since the module was loaded
 * @begin: when the first row was looked for, in ns since boot
 * @sum: CRC-32 of the rows so far
 */
struct tl_pass {
	u64 number;
	u64 begin;
	u32 sum;
};

#define TL_TID_BITS	22	/* of an identity; see PID_MAX_LIMIT */

/**
 * struct tl_seen - what is remembered of a task
 * @id: its identity
 * @sum: of what it was and had used; bit 0: it was met again
 */
struct tl_seen {
	u64 id;
	u64 sum;
};

/**
 * struct tl_memory - what is remembered of a pass
 * @pass: its number
 * @count: of tasks
 * @capacity: room in @seen
 * @seen: the tasks, by ascending number
 */
struct tl_memory {
	u64 pass;
	u32 count;
	u32 capacity;
	struct tl_seen *seen;
};

/**
 * struct tl_since - two passes that are held against each other
 * @before: the last one that was read to its end
 * @now: the one that is being read
 * @at: of @before, where this pass is
 * @found: the task whose row is shown, and is not remembered before it is left
 * @is_found: there is one
 */
struct tl_since {
	struct tl_memory before;
	struct tl_memory now;
	u32 at;
	struct tl_seen found;
	bool is_found;
};

/**
 * struct tl_values - what was read of a task
 * @known: bits of &enum tl_field; others may not or cannot be read
 * @number: of each field; a state, a policy: as the kernel numbers them
 * @comm: the name as it is, with what is behind its end
 */
struct tl_values {
	u64 known;
	u64 number[TL_FIELDS];
	char comm[TASK_COMM_LEN];
};

/**
 * struct tl_cursor - where an open task_lister or task_detail stands
 * @ns: PID namespace of the procfs mount
 * @user_ns: of who opened it
 * @place: what is to be shown next
 * @task: the process to be shown, referenced; NULL outside %TL_PROCESS
 * @pid: number of @task in @ns
 * @rows: processes shown so far
 * @selection: what was chosen, or NULL
 * @pass: for a selection
 * @since: for a selection with since=
 * @gone: identity of the task to be shown in %TL_GONE
 * @from: the first end that this pass is to have
 * @until: the last one
 * @missed: how many of them are not remembered
 * @ended: the end to be shown in %TL_PROCESS
 */
struct tl_cursor {
	struct pid_namespace *ns;
	struct user_namespace *user_ns;
	enum tl_place place;
	struct task_struct *task;
	pid_t pid;
	unsigned int rows;
	struct tl_selection *selection;
	struct tl_pass pass;
	struct tl_since since;
	u64 gone;
	u64 from;
	u64 until;
	u64 missed;
	struct tl_values ended;
};

/* Kilobytes in so many pages. */
static inline unsigned long tl_kb(unsigned long pages)
{
	return pages << (PAGE_SHIFT - 10);
}

/* main.c */
int tl_may_open(struct inode *inode);

/* field.c: what can be chosen of a task */
int tl_field_of(const char *name);
const char *tl_field_name(enum tl_field field);
void tl_values_read(struct tl_values *v, const struct tl_cursor *cursor);
void tl_values_gone(struct tl_values *v, const struct tl_cursor *cursor);
void tl_values_ended(struct tl_values *v, struct task_struct *task);

u64 tl_identity(struct task_struct *task, pid_t tid);
unsigned int tl_sums_sequence(struct task_struct *task);

/* since.c: what changed */
void tl_since_begin(struct tl_cursor *cursor);
int tl_since_found(struct tl_cursor *cursor, struct task_struct *task);
void tl_since_left(struct tl_cursor *cursor);
u64 tl_since_gone(struct tl_cursor *cursor, u32 *index);
void tl_since_end(struct tl_cursor *cursor);
void tl_since_free(struct tl_cursor *cursor);

/* ended.c: who has ended */
int tl_ended_begin(void);
void tl_ended_stop(void);
const char *tl_ended_refused(const struct tl_cursor *cursor, int *err);
void tl_ended_look(struct tl_cursor *cursor);
bool tl_ended_next(struct tl_cursor *cursor, u64 *number);

/* select.c: what is written to an open file */
struct tl_selection *tl_selection_of(const struct tl_cursor *cursor,
				     const char __user *text, size_t size);
bool tl_may_be_selected(const struct tl_selection *selection, pid_t *pid);
bool tl_is_selected(struct tl_cursor *cursor, struct task_struct *task);
bool tl_is_ended_selected(const struct tl_selection *s,
			  const struct tl_values *v);

/* row.c: how it is shown */
void tl_pass_begin(struct tl_pass *pass);
void tl_select_show(struct seq_file *m, struct tl_cursor *cursor);

/* cursor.c */
struct task_struct *tl_next_process(struct pid_namespace *ns, pid_t *pid);
int tl_cursor_open(struct inode *inode, struct file *file,
		   const struct seq_operations *ops);
void *tl_cursor_start(struct seq_file *m, loff_t *pos);
void *tl_cursor_next(struct seq_file *m, void *v, loff_t *pos);
void tl_cursor_stop(struct seq_file *m, void *v);
void tl_cursor_rewind(struct seq_file *m);
int tl_cursor_release(struct inode *inode, struct file *file);

/* task.c */
void tl_escape(char *to, const char *comm);
struct pid *tl_parent(struct task_struct *task);
enum tl_state tl_task_state(struct task_struct *task);
const char *tl_state_name(enum tl_state state);
const char *tl_policy_name(unsigned int policy);
void tl_task_memory(struct task_struct *task, unsigned long *vm,
		    unsigned long *rss);
void tl_task_read(struct tl_task *t, struct task_struct *task,
		  struct pid_namespace *ns);

/* list.c */
void tl_blanks(struct seq_file *m, size_t count);

/* user.c: how many pictures a user has */
struct tl_user;
struct tl_user *tl_user_get(void);
void tl_user_put(struct tl_user *user);

/* tree.c */
int tl_tree_print(void);

/* print.c */
void tl_print_begin(void);

/* list.c, stats.c, tree.c */
extern const struct proc_ops tl_list_ops;
extern const struct proc_ops tl_detail_ops;
extern const struct proc_ops tl_stats_ops;
extern const struct proc_ops tl_tree_ops;

#endif /* TASK_LISTER_H */
