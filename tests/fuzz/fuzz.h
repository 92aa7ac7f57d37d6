/* SPDX-License-Identifier: GPL-2.0 */
/* What the stand-ins of the kernel, the system calls and the fuzzed functions share. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include "kernel.h"
#include "state.h"

#include "tracer.h"

/* calls.c: the system calls of the kernel that there is not; two of them cannot be traced */
enum {
	ID_BUSY,	/* it cannot be armed */
	ID_TABOO,	/* it cannot even be found */
	CALLS = 51,
};

void calls_reset(void);
bool calls_settled(void);

/* model.c: the commands as docs/abi.md has them, written anew */
void model_reset(void);
int model_write(const char *text, size_t size);
void model_compare(const struct sct_filters *filters, const unsigned long *traced);

#endif
