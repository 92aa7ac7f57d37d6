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

#include "lister.h"

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
} files[] = {
	{ "task_lister", &tl_list_ops },
	{ "task_detail", &tl_detail_ops },
	{ "task_stats", &tl_stats_ops },
	{ "task_tree", &tl_tree_ops },
};

static void remove_files(unsigned int count)
{
	while (count--)
		remove_proc_entry(files[count].name, NULL);
}

static int __init lister_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		if (!proc_create(files[i].name, 0444, NULL, files[i].ops)) {
			pr_err(KBUILD_MODNAME ": cannot create /proc/%s\n", files[i].name);
			remove_files(i);
			return -ENOMEM;
		}
	}
	pr_info(KBUILD_MODNAME ": loaded\n");
	return 0;
}

static void __exit lister_exit(void)
{
	remove_files(ARRAY_SIZE(files));
	pr_info(KBUILD_MODNAME ": unloaded\n");
}

module_init(lister_init);
module_exit(lister_exit);

MODULE_AUTHOR("kmodlab");
MODULE_DESCRIPTION("Lists processes in /proc/task_lister and its companions");
MODULE_VERSION("1.0.0");
MODULE_LICENSE("GPL");
