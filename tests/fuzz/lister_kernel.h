/* SPDX-License-Identifier: GPL-2.0 */
/* What the lister's parser needs of the kernel beyond kernel.h, in user space. */
#ifndef FUZZ_LISTER_KERNEL_H
#define FUZZ_LISTER_KERNEL_H

#include "kernel.h"

#define BIT_ULL(n) (1ULL << (n))
#define PAGE_SHIFT 12
#define TASK_COMM_LEN 16
#define PF_KTHREAD 0x00200000
#define PID_MAX_LIMIT (4 * 1024 * 1024)
#define GFP_KERNEL_ACCOUNT GFP_KERNEL
#define ERR_CAST(pointer) ((void *)(pointer))
#define scnprintf(to, size, ...) snprintf(to, size, __VA_ARGS__)
#define __ratelimit(state) ((void)(state), true)
#define rcu_read_lock()
#define rcu_read_unlock()

typedef struct {
	u32 val;
} kuid_t;

struct pid;
struct pid_namespace;
struct user_namespace;
struct file;
struct seq_operations;
struct proc_ops;

struct cred {
	kuid_t uid;
};

/* A task has what a selection asks of it. */
struct task_struct {
	unsigned int flags;
	u32 pid, ppid;
	struct cred cred;
	char comm[TASK_COMM_LEN];
	unsigned int state;
};

/* The line of the kernel's log that says what is refused; %*pE is the kernel's own. */
#undef pr_warn
#define pr_warn(format, length, word, reason) fuzz_refused(length, word, reason)
void fuzz_refused(int length, const char *word, const char *reason);

int match_string(const char *const *names, size_t count, const char *name);
int kstrtou64(const char *text, unsigned int base, u64 *result);
void *kmemdup(const void *from, size_t size, int flags);

#define kstrtou32(text, base, result) kstrtouint(text, base, result)
#define get_task_comm(to, task) memcpy(to, (task)->comm, TASK_COMM_LEN)
#define __task_cred(task) (&(task)->cred)
#define from_kuid_munged(user_ns, uid) ((uid).val)
#define task_tgid(task) ((struct pid *)&(task)->pid)
#define pid_nr_ns(number, ns) (*(const u32 *)(number))

#endif
