/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: the stubs that blocked calls return through.
 */
#ifndef SYSCALL_TRACER_STUB_H
#define SYSCALL_TRACER_STUB_H

#define SCT_STUBS	133	/* the last errno that user space knows */
#define SCT_STUB_SIZE	32	/* bytes; stub.S holds each stub to it */

#ifndef __ASSEMBLY__

extern const char sct_stubs[];

/* Where a function has to go to return @err, negative, at once. */
static inline unsigned long sct_stub(int err)
{
	return (unsigned long)sct_stubs + (-err - 1) * SCT_STUB_SIZE;
}

#endif /* !__ASSEMBLY__ */

#endif /* SYSCALL_TRACER_STUB_H */
