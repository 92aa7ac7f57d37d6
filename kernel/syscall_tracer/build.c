// SPDX-License-Identifier: GPL-2.0-only
/*
 * The whole module as one unit, as kernel/sched/build_policy.c is: the kernel's
 * headers, which are most of what a build costs, are read once.
 *
 * From the ground up: what a file uses lies above it.
 */
#include "param.c"
#include "errno.c"
#include "signature.c"
#include "family.c"
#include "call.c"
#include "filter.c"
#include "ring.c"
#include "mode.c"
#include "event.c"
#include "deliver.c"
#include "left_out.c"
#include "entry.c"
#include "probe.c"
#include "ftrace.c"
#include "returns.c"
#include "canary.c"
#include "hook.c"
#include "point.c"
#include "trace.c"
#include "promise.c"
#include "stage.c"
#include "text.c"
#include "stats.c"
#include "command.c"
#include "netlink_gen.c"
#include "netlink.c"
#include "proc.c"
#include "main.c"
