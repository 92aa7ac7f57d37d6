/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The only place of the project that knows kernel versions.
 *
 * Each module's Kbuild file force-includes this header, so that the sources
 * read like those of the newest supported kernel. What only one module needs
 * goes into a header of its own beside this one.
 */
#ifndef KMODLAB_COMPAT_H
#define KMODLAB_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 10, 0) || \
	LINUX_VERSION_CODE >= KERNEL_VERSION(7, 4, 0)
#error "kmodlab supports Linux 5.10 to 7.3"
#endif

#if !defined(CONFIG_X86_64) && !defined(CONFIG_ARM64)
#error "kmodlab supports x86-64 and arm64"
#endif

#endif /* KMODLAB_COMPAT_H */
