/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * syscall_tracer: its trace event, for perf, trace-cmd and bpftrace.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM syscall_tracer

#if !defined(SYSCALL_TRACER_EVENT_H) || defined(TRACE_HEADER_MULTI_READ)
#define SYSCALL_TRACER_EVENT_H

#include <linux/tracepoint.h>

#include "record.h"

TRACE_EVENT(syscall,
	    TP_PROTO(const char *name, const struct sct_record *rec),
	    TP_ARGS(name, rec),
	    TP_STRUCT__entry(__string(name, name)
			     __field(u16, call)
			     __field(u8, status)
			     __field(u8, flags)
			     __field(u32, pid)
			     __field(u32, uid)
			     __field(s64, ret)
			     __field(u64, latency)
			     __array(u64, args, SCT_ARGS)
			    ),
	    TP_fast_assign(compat_assign_str(name, name);
			   __entry->call = rec->call;
			   __entry->status = rec->status;
			   __entry->flags = rec->flags;
			   __entry->pid = rec->pid;
			   __entry->uid = rec->uid;
			   __entry->ret = rec->ret;
			   __entry->latency = rec->latency;
			   memcpy(__entry->args, rec->args, sizeof(rec->args));
			  ),
	    TP_printk("%s call=%u pid=%u uid=%u status=%u flags=0x%x ret=%lld latency=%llu args=%s",
		      __get_str(name), __entry->call, __entry->pid,
		      __entry->uid, __entry->status, __entry->flags,
		      __entry->ret, __entry->latency,
		      __print_array(__entry->args, SCT_ARGS, 8))
);

#endif /* SYSCALL_TRACER_EVENT_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE event
#include <trace/define_trace.h>
