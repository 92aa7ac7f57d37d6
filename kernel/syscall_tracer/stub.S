/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sct_stub(): where a blocked call goes instead. The return value is set.
 */
SYM_FUNC_START(sct_stub)
	COMPAT_LANDING_PAD
	RET
SYM_FUNC_END(sct_stub)
