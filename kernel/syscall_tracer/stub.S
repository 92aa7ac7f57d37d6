/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a blocked call goes instead: a stub for each errno. It makes the return
 * value itself, for between the hook and the stub there may be a trampoline of
 * BPF, which uses the register.
 */
#include "stub.h"

	.macro return_value value
#ifdef CONFIG_ARM64
	mov	x0, #\value
#else
	movq	$\value, %rax
#endif
	.endm

	.altmacro

/*
 * Some kernels (6.12) begin a function with a landing pad of their own, so there
 * are two. A stub that does not fit is an error of the assembler's: it would
 * move all that follow, and calls would return the errno of another.
 */
	.macro stub error
SYM_FUNC_START_LOCAL_NOALIGN(sct_stub_\error)
	COMPAT_LANDING_PAD
	return_value -\error
	RET
SYM_FUNC_END(sct_stub_\error)
	.org	sct_stub_\error + SCT_STUB_SIZE, 0xcc
	.endm

	.text
	.balign SCT_STUB_SIZE
	.globl sct_stubs
sct_stubs:
	.set error, 0
	.rept SCT_STUBS
	.set error, error + 1
	stub %error
	.endr
