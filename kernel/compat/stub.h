/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What syscall_tracer's assembly needs on every supported kernel.
 */
#ifndef KMODLAB_COMPAT_STUB_H
#define KMODLAB_COMPAT_STUB_H

#include <linux/linkage.h>
#ifdef CONFIG_X86_KERNEL_IBT
#include <asm/ibt.h>
#endif

/* Since 5.17, and in the stable releases that know of return thunks. */
#ifndef RET
#define RET ret
#endif

/* Its address is taken; since 6.2 only functions with a type begin with one. */
#ifdef CONFIG_X86_KERNEL_IBT
#define COMPAT_LANDING_PAD ENDBR
#else
#define COMPAT_LANDING_PAD
#endif

#endif /* KMODLAB_COMPAT_STUB_H */
