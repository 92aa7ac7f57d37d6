/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What task_lister needs to read tasks alike on every supported kernel.
 */
#ifndef KMODLAB_COMPAT_TASK_H
#define KMODLAB_COMPAT_TASK_H

#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
/* It exists, but modules may use it only since some release after 5.10. */
static inline struct pid *compat_find_ge_pid(int nr, struct pid_namespace *ns)
{
	return idr_get_next(&ns->idr, &nr);
}

#define find_ge_pid(nr, ns) compat_find_ge_pid(nr, ns)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 3, 0)
/*
 * Since 6.2 the counters are per CPU and get_mm_rss() is off by up to a batch
 * of pages for each CPU; before, it is all there is. A macro, because stable
 * releases have picked up the function.
 */
static inline unsigned long compat_mm_rss_sum(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	return get_mm_rss(mm);
#else
	return percpu_counter_sum_positive(&mm->rss_stat[MM_FILEPAGES]) +
	       percpu_counter_sum_positive(&mm->rss_stat[MM_ANONPAGES]) +
	       percpu_counter_sum_positive(&mm->rss_stat[MM_SHMEMPAGES]);
#endif
}

#define get_mm_rss_sum(mm) compat_mm_rss_sum(mm)
#endif

/*
 * Since 6.16 who hears of a thread's end is told whether its process has ended,
 * and so it is for one thread alone. Before, all see it that come once the last
 * one has begun to end.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#define compat_exit_probe(name) \
	name(void *data, struct task_struct *task)
#define compat_group_dead(task)	(!atomic_read(&(task)->signal->live))
#define COMPAT_ENDS_ONCE	false
#else
#define compat_exit_probe(name) \
	name(void *data, struct task_struct *task, bool group_dead)
#define compat_group_dead(task)	group_dead
#define COMPAT_ENDS_ONCE	true
#endif

/* Policy 7 is sched_ext's since 6.12. */
#ifndef SCHED_EXT
#define SCHED_EXT 7
#endif

#endif /* KMODLAB_COMPAT_TASK_H */
