/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What syscall_tracer needs of generic netlink, alike on every supported
 * kernel.
 */
#ifndef KMODLAB_COMPAT_GENETLINK_H
#define KMODLAB_COMPAT_GENETLINK_H

#include <linux/version.h>
#include <net/genetlink.h>

/*
 * To join a group takes CAP_NET_ADMIN in the initial user namespace, for the
 * family is in the initial network namespace alone. Before 5.12 only stable
 * releases can check that: where none can there is no group, better no events
 * than events for everybody. The flag's later name is in stable releases too.
 */
#if defined(GENL_MCAST_CAP_NET_ADMIN)
#define COMPAT_MCAST_ADMIN .flags = GENL_MCAST_CAP_NET_ADMIN
#define COMPAT_MCAST_GROUPS(n) (n)
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(5, 12, 0) || \
	(LINUX_VERSION_CODE >= KERNEL_VERSION(5, 10, 204) && \
	 LINUX_VERSION_CODE < KERNEL_VERSION(5, 11, 0))
#define COMPAT_MCAST_ADMIN .flags = GENL_UNS_ADMIN_PERM
#define COMPAT_MCAST_GROUPS(n) (n)
#else
#define COMPAT_MCAST_ADMIN
#define COMPAT_MCAST_GROUPS(n) 0
#endif

#endif /* KMODLAB_COMPAT_GENETLINK_H */
