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
 * Everything that the module knows hangs on an open file and goes with it. Its
 * one lock guards how many pictures each user holds, see user.c.
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
	TL_FOOTER,
};

/**
 * struct tl_cursor - where an open task_lister or task_detail stands
 * @ns: PID namespace of the procfs mount
 * @place: what is to be shown next
 * @task: the process to be shown, referenced; NULL outside %TL_PROCESS
 * @pid: number of @task in @ns
 * @rows: processes shown so far
 */
struct tl_cursor {
	struct pid_namespace *ns;
	enum tl_place place;
	struct task_struct *task;
	pid_t pid;
	unsigned int rows;
};

/* Kilobytes in so many pages. */
static inline unsigned long tl_kb(unsigned long pages)
{
	return pages << (PAGE_SHIFT - 10);
}

/* main.c */
int tl_may_open(struct inode *inode);

/* cursor.c */
struct task_struct *tl_next_process(struct pid_namespace *ns, pid_t *pid);
int tl_cursor_open(struct inode *inode, struct file *file,
		   const struct seq_operations *ops);
void *tl_cursor_start(struct seq_file *m, loff_t *pos);
void *tl_cursor_next(struct seq_file *m, void *v, loff_t *pos);
void tl_cursor_stop(struct seq_file *m, void *v);

/* task.c */
void tl_escape(char *to, const char *comm);
struct pid *tl_parent(struct task_struct *task);
enum tl_state tl_task_state(struct task_struct *task);
const char *tl_state_name(enum tl_state state);
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

/* list.c, stats.c, tree.c */
extern const struct proc_ops tl_list_ops;
extern const struct proc_ops tl_detail_ops;
extern const struct proc_ops tl_stats_ops;
extern const struct proc_ops tl_tree_ops;

#endif /* TASK_LISTER_H */
