/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What syscall_tracer's trace event needs on every supported kernel.
 */
#ifndef KMODLAB_COMPAT_TRACEPOINT_H
#define KMODLAB_COMPAT_TRACEPOINT_H

#include <linux/version.h>

/*
 * Since 6.10 a field that is a string remembers what it is made from. The macro
 * is redefined with each of the readings of an event's header.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 10, 0)
#define compat_assign_str(name, from) __assign_str(name, from)
#else
#define compat_assign_str(name, from) __assign_str(name)
#endif

#endif /* KMODLAB_COMPAT_TRACEPOINT_H */
