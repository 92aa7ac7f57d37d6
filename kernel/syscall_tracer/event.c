// SPDX-License-Identifier: GPL-2.0-only
/*
 * The trace event: what is recorded, for the kernel's own tracers.
 */
#include <linux/kprobes.h>

#include "tracer.h"

#define CREATE_TRACE_POINTS
#include "event.h"
#undef CREATE_TRACE_POINTS /* for ours alone, whatever is included below */

/**
 * sct_event_emit() - hand a record to who has enabled the event
 * @rec: complete
 *
 * Context: Any, with preemption off.
 */
void sct_event_emit(const struct sct_record *rec)
{
	trace_syscall(sct_call_name(rec->call), rec);
}

NOKPROBE_SYMBOL(sct_event_emit);
