// SPDX-License-Identifier: GPL-2.0-only
/*
 * task_lister: the processes of the machine, in four files of /proc.
 *
 * docs/abi.md is its contract.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "lister.h"

/* What a word for who may read stands for; the words are also those of a mode. */
static char *list_readers = "all";
module_param_named(list, list_readers, charp, 0444);
MODULE_PARM_DESC(list, "who may read task_lister, task_stats and task_tree: all or root");

static char *detail_readers = "root";
module_param_named(detail, detail_readers, charp, 0444);
MODULE_PARM_DESC(detail, "who may read task_detail: root or all");

/**
 * tl_may_open() - does the procfs mount let this reader see all processes?
 * @inode: of the file that is being opened
 *
 * The views show of every process what its own status file shows to everybody.
 * A mount with hidepid= does not show it to everybody, and then the views are
 * for those to whom it still does.
 *
 * Context: Process context.
 * Return: 0 or -EPERM.
 */
int tl_may_open(struct inode *inode)
{
	struct proc_fs_info *info = proc_sb_info(inode->i_sb);

	if (info->hide_pid == HIDEPID_OFF)
		return 0;
	if (info->hide_pid != HIDEPID_NOT_PTRACEABLE &&
	    in_group_p(info->pid_gid))
		return 0;
	return ns_capable(info->pid_ns->user_ns, CAP_SYS_PTRACE) ? 0 : -EPERM;
}

static const struct {
	const char *name;
	const struct proc_ops *ops;
	char **readers;
} files[] = {
	{ "task_lister", &tl_list_ops, &list_readers },
	{ "task_detail", &tl_detail_ops, &detail_readers },
	{ "task_stats", &tl_stats_ops, &list_readers },
	{ "task_tree", &tl_tree_ops, &list_readers },
};

/* Returns 0 for a word that stands for nobody. */
static umode_t mode_for(const char *readers)
{
	if (!strcmp(readers, "all"))
		return 0444;
	return strcmp(readers, "root") ? 0 : 0400;
}

static void remove_files(unsigned int count)
{
	while (count--)
		remove_proc_entry(files[count].name, NULL);
}

static int create_files(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		umode_t mode = mode_for(*files[i].readers);

		if (!proc_create(files[i].name, mode, NULL, files[i].ops)) {
			pr_err(KBUILD_MODNAME ": cannot create /proc/%s\n", files[i].name);
			remove_files(i);
			return -ENOMEM;
		}
	}
	return 0;
}

static int __init lister_init(void)
{
	int err;

	if (!mode_for(list_readers) || !mode_for(detail_readers)) {
		pr_err(KBUILD_MODNAME ": list and detail must be all or root\n");
		return -EINVAL;
	}
	err = tl_ended_begin();
	if (err)
		return err;
	err = create_files();
	if (err) {
		tl_ended_stop();
		return err;
	}
	pr_info(KBUILD_MODNAME ": loaded\n");
	tl_print_begin();
	return 0;
}

static void __exit lister_exit(void)
{
	remove_files(ARRAY_SIZE(files));
	tl_ended_stop();
	pr_info(KBUILD_MODNAME ": unloaded\n");
}

module_init(lister_init);
module_exit(lister_exit);

MODULE_AUTHOR("kmodlab");
MODULE_DESCRIPTION("Lists processes in /proc/task_lister and its companions");
MODULE_VERSION("1.0.0");
MODULE_LICENSE("GPL");
