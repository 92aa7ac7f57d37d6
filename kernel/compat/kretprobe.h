/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What syscall_tracer needs to find the kretprobe of an instance.
 */
#ifndef KMODLAB_COMPAT_KRETPROBE_H
#define KMODLAB_COMPAT_KRETPROBE_H

#include <linux/kprobes.h>
#include <linux/version.h>

/* Some know no bound. */
#ifndef KRETPROBE_MAX_DATA_SIZE
#define KRETPROBE_MAX_DATA_SIZE 4096
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 11, 0)
static inline struct kretprobe *get_kretprobe(struct kretprobe_instance *ri)
{
	return ri->rp;
}
#endif

#endif /* KMODLAB_COMPAT_KRETPROBE_H */
