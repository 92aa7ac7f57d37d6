// SPDX-License-Identifier: GPL-2.0-only
/*
 * The whole module as one unit, as kernel/sched/build_policy.c is: the kernel's
 * headers, which are most of what a build costs, are read once.
 *
 * From the ground up: what a file uses lies above it.
 */
#include "user.c"
#include "task.c"
#include "field.c"
#include "since.c"
#include "ended.c"
#include "select.c"
#include "row.c"
#include "cursor.c"
#include "list.c"
#include "stats.c"
#include "tree.c"
#include "print.c"
#include "main.c"
