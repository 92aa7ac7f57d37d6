// SPDX-License-Identifier: GPL-2.0
/* Records system calls by kprobes, and shows them with its filters in /proc/syscall_tracer. */
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define LOG_SIZE 1000
#define MAX_FILTERS 16
#define NAME_LEN 32

struct entry {
	char name[NAME_LEN];
	int pid;
	unsigned long time;
	bool blocked;
};

struct filter {
	char name[NAME_LEN];
	bool block;
};

static struct entry log_buffer[LOG_SIZE];
static int log_head, log_count;
static struct filter filters[MAX_FILTERS];
static int filter_count;
static DEFINE_SPINLOCK(lock);

static const char *const traced[] = { "openat", "open", "read", "write", "close", "unlink", "unlinkat" };
static struct kprobe probes[ARRAY_SIZE(traced)];
static char symbols[ARRAY_SIZE(traced)][NAME_LEN + 16];

/* "unlink" stands for unlinkat, too: that is what rm calls */
static bool same_call(const char *filter, const char *name)
{
	size_t n = strlen(filter);

	return !strncmp(filter, name, n) && (!name[n] || !strcmp(name + n, "at"));
}

static bool is_blocked(const char *name)
{
	int i;

	for (i = 0; i < filter_count; i++)
		if (same_call(filters[i].name, name))
			return filters[i].block;
	return false;
}

static int handler(struct kprobe *p, struct pt_regs *regs)
{
	const char *name = traced[p - probes];
	unsigned long flags;
	struct entry *e;
	bool blocked;

	spin_lock_irqsave(&lock, flags);
	e = &log_buffer[log_head];
	log_head = (log_head + 1) % LOG_SIZE;
	if (log_count < LOG_SIZE)
		log_count++;
	strscpy(e->name, name, sizeof(e->name));
	e->pid = current->tgid;
	e->time = jiffies;
	blocked = is_blocked(name);
	e->blocked = blocked;
	spin_unlock_irqrestore(&lock, flags);
	if (blocked)
		printk_ratelimited(KERN_INFO "syscall_tracer: Blocked %s() from PID %d\n", name, current->tgid);
	return 0;
}

static int tracer_show(struct seq_file *m, void *v)
{
	struct entry *copy;
	struct filter rules[MAX_FILTERS];
	int i, count, rule_count;
	unsigned long flags;

	copy = kvmalloc_array(LOG_SIZE, sizeof(*copy), GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	spin_lock_irqsave(&lock, flags);
	count = log_count;
	for (i = 0; i < count; i++)
		copy[i] = log_buffer[(log_head - count + i + LOG_SIZE) % LOG_SIZE];
	rule_count = filter_count;
	memcpy(rules, filters, sizeof(rules));
	spin_unlock_irqrestore(&lock, flags);

	seq_printf(m, "%-12s %-8s %-16s %s\n", "Syscall", "PID", "Timestamp", "Status");
	for (i = 0; i < count; i++)
		seq_printf(m, "%-12s %-8d %-16lu %s\n", copy[i].name, copy[i].pid, copy[i].time,
			   copy[i].blocked ? "BLOCKED" : "ALLOWED");
	seq_printf(m, "\nTotal entries: %d\n\nActive Filters:\n", count);
	for (i = 0; i < rule_count; i++)
		seq_printf(m, "%s: %s\n", rules[i].name, rules[i].block ? "BLOCK" : "ALLOW");
	if (!rule_count)
		seq_puts(m, "No filters active\n");
	kvfree(copy);
	return 0;
}

static int tracer_open(struct inode *inode, struct file *file)
{
	return single_open_size(file, tracer_show, NULL, 128 * 1024);
}

static ssize_t tracer_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	char text[64], name[NAME_LEN], action[16];
	ssize_t result = len;
	unsigned long flags;

	if (len >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, buf, len))
		return -EFAULT;
	text[len] = '\0';
	if (sscanf(text, "%31s %15s", name, action) != 2)
		return -EINVAL;
	if (strcmp(action, "block") && strcmp(action, "allow"))
		return -EINVAL;
	spin_lock_irqsave(&lock, flags);
	if (filter_count < MAX_FILTERS) {
		int i;

		for (i = 0; i < filter_count; i++)
			if (!strcmp(filters[i].name, name))
				break;
		strscpy(filters[i].name, name, sizeof(filters[i].name));
		filters[i].block = !strcmp(action, "block");
		if (i == filter_count)
			filter_count++;
	} else {
		result = -ENOSPC;
	}
	spin_unlock_irqrestore(&lock, flags);
	return result;
}

static const struct proc_ops tracer_ops = {
	.proc_open = tracer_open,
	.proc_read = seq_read,
	.proc_write = tracer_write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int __init tracer_init(void)
{
	int i, err;

	for (i = 0; i < ARRAY_SIZE(traced); i++) {
		snprintf(symbols[i], sizeof(symbols[i]), "__x64_sys_%s", traced[i]);
		probes[i].symbol_name = symbols[i];
		probes[i].pre_handler = handler;
		err = register_kprobe(&probes[i]);
		if (err) {
			while (--i >= 0)
				unregister_kprobe(&probes[i]);
			return err;
		}
	}
	if (!proc_create("syscall_tracer", 0600, NULL, &tracer_ops)) {
		for (i = 0; i < ARRAY_SIZE(traced); i++)
			unregister_kprobe(&probes[i]);
		return -ENOMEM;
	}
	return 0;
}

static void __exit tracer_exit(void)
{
	int i;

	remove_proc_entry("syscall_tracer", NULL);
	for (i = 0; i < ARRAY_SIZE(traced); i++)
		unregister_kprobe(&probes[i]);
}

module_init(tracer_init);
module_exit(tracer_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("System call tracer");
