/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What syscall_tracer needs of generic netlink, alike on every supported
 * kernel.
 */
#ifndef KMODLAB_COMPAT_GENETLINK_H
#define KMODLAB_COMPAT_GENETLINK_H

#include <net/genetlink.h>

/*
 * To join a group takes CAP_SYS_ADMIN in the initial user namespace. A release
 * checks that since 6.7, and stable ones since late 2023, which have a bit for
 * it first and a flag later; Kbuild looks which. Where a kernel checks nothing
 * there is no group: better no events than events for everybody.
 */
#if defined(GENL_MCAST_CAP_SYS_ADMIN)
#define COMPAT_MCAST_ADMIN .flags = GENL_MCAST_CAP_SYS_ADMIN
#define COMPAT_MCAST_GROUPS(n) (n)
#elif defined(COMPAT_MCAST_HAS_SYS_ADMIN)
#define COMPAT_MCAST_ADMIN .cap_sys_admin = 1
#define COMPAT_MCAST_GROUPS(n) (n)
#else
#define COMPAT_MCAST_ADMIN
#define COMPAT_MCAST_GROUPS(n) 0
#endif

/* Whether a family is told who joins its groups; Kbuild looks. Since 6.8. */
#ifdef COMPAT_GENL_HAS_BIND
#define COMPAT_TELLS_OF_JOINING 1
#else
#define COMPAT_TELLS_OF_JOINING 0
#endif

#endif /* KMODLAB_COMPAT_GENETLINK_H */
