/* SPDX-License-Identifier: GPL-2.0 */
/* What the stand-ins of the kernel and all fuzzers share. */
#ifndef FUZZ_STATE_H
#define FUZZ_STATE_H

#include "kernel.h"

/**
 * struct fuzz_state - what an input does to the kernel, and what came of it
 * @fail_in: the allocation that fails, counted from now; 0 for none
 * @incapable: the writer has no capability
 * @allocated: how many allocations there are
 * @warnings: lines in the kernel's log
 * @warning: the last one
 */
struct fuzz_state {
	unsigned int fail_in;
	bool incapable;
	long allocated;
	unsigned int warnings;
	char warning[1024];
};

extern struct fuzz_state fuzz;

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#endif
