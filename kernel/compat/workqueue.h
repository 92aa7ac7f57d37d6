/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What syscall_tracer needs of workqueues, alike on every supported kernel.
 */
#ifndef KMODLAB_COMPAT_WORKQUEUE_H
#define KMODLAB_COMPAT_WORKQUEUE_H

#include <linux/version.h>
#include <linux/workqueue.h>

/* A queue without any flag was bound to the CPUs before it had to be said. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#define WQ_PERCPU 0
#endif

#endif /* KMODLAB_COMPAT_WORKQUEUE_H */
