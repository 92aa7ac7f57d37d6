// SPDX-License-Identifier: GPL-2.0-only
/*
 * The processes in the kernel's log, when that is asked for: one after the other,
 * as for_each_process() has them, or depth first, as the textbook's exercise goes
 * along the lists of children.
 */
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pid_namespace.h>
#include <linux/sched/task.h>
#include <linux/string.h>

#include "lister.h"

enum view { NO_VIEW, LIST_VIEW, TREE_VIEW };

static const char * const view_names[] = {
	[NO_VIEW] = "none",
	[LIST_VIEW] = "list",
	[TREE_VIEW] = "tree",
};

static enum view last_view;
static bool can_print;

static void print_task(struct task_struct *task, pid_t pid)
{
	struct tl_task t;

	tl_task_read(&t, task, &init_pid_ns);
	pr_info(KBUILD_MODNAME ": %d %d %s %s\n", pid, t.ppid,
		tl_state_name(t.state), t.command);
}

static int print_list(void)
{
	struct task_struct *task;
	pid_t pid;

	for (pid = 1; (task = tl_next_process(&init_pid_ns, &pid)); pid++) {
		if (IS_ERR(task))
			return PTR_ERR(task);
		print_task(task, pid);
		put_task_struct(task);
	}
	return 0;
}

static int print_view(enum view view)
{
	switch (view) {
	case LIST_VIEW:
		return print_list();
	case TREE_VIEW:
		return tl_tree_print();
	case NO_VIEW:
		break;
	}
	return 0;
}

/* While the module is being loaded the view is noted, and printed at the end. */
static int print_set(const char *word, const struct kernel_param *kp)
{
	int view = sysfs_match_string(view_names, word);

	if (view < 0)
		return view;
	last_view = view;
	return can_print ? print_view(view) : 0;
}

static int print_get(char *buffer, const struct kernel_param *kp)
{
	return scnprintf(buffer, PAGE_SIZE, "%s\n", view_names[last_view]);
}

static const struct kernel_param_ops print_ops = {
	.set = print_set,
	.get = print_get,
};

module_param_cb(print, &print_ops, NULL, 0600);
MODULE_PARM_DESC(print, "write list or tree: the processes are put into the kernel's log");

/**
 * tl_print_begin() - print what was asked for as the module was loaded
 *
 * Context: Process context, may sleep.
 */
void tl_print_begin(void)
{
	int err;

	kernel_param_lock(THIS_MODULE);
	can_print = true;
	err = print_view(last_view);
	kernel_param_unlock(THIS_MODULE);
	if (err)
		pr_warn(KBUILD_MODNAME ": not all was printed (%d)\n", err);
}
