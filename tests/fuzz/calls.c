// SPDX-License-Identifier: GPL-2.0
/* In place of call.c, point.c and trace.c: a kernel with some system calls, and nothing to hook. */
#include "fuzz.h"

/* Families of several, of which some are not there; calls with one path, with two, with none. */
static const char *const present[CALLS] = {
	[ID_BUSY] = "swapoff", [ID_TABOO] = "uselib",
	"open",	     "openat",	 "creat",   "read",	"pread64",    "readv",	   "write",  "pwrite64", "writev",
	"close",     "unlink",	 "unlinkat", "rename",	"renameat",   "renameat2", "mkdir",  "mkdirat",	 "link",
	"linkat",    "symlink",	 "symlinkat", "chmod",	"fchmod",     "fchmodat",  "execve", "execveat", "stat",
	"fstat",     "statx",	 "umount2", "fork",	"vfork",      "clone",	   "exit",   "exit_group", "kill",
	"connect",   "bind",	 "sendto",  "getppid",	"sched_yield", "getsid",   "mount",  "quotactl", "chdir",
	"fchdir",    "truncate", "inotify_add_watch", "landlock_create_ruleset",
};

static const char *const on_at_load[] = { "open", "openat", "creat", "read", "write", "close", "unlink", "unlinkat" };

static DECLARE_BITMAP(traced, SCT_CALLS_MAX);
static DECLARE_BITMAP(armed, SCT_CALLS_MAX);

unsigned int sct_data_bytes = 128;

/* Not strcmp(): the fuzzer would look at each. */
static bool equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

int sct_points_get(const char *name)
{
	lockdep_assert_held(&sct_lock);
	for (size_t i = 0; i < ARRAY_SIZE(present); i++)
		if (equal(present[i], name))
			return i == ID_TABOO ? -EOPNOTSUPP : (int)i;
	return -ENOENT;
}

const char *sct_call_name(unsigned int id)
{
	assert(id < ARRAY_SIZE(present));
	return present[id];
}

const char *sct_call_signature(unsigned int id)
{
	return sct_signature(sct_call_name(id));
}

const char *sct_record_signature(const struct sct_record *rec)
{
	return sct_call_signature(rec->call);
}

void sct_traced(unsigned long *copy)
{
	lockdep_assert_held(&sct_lock);
	memcpy(copy, traced, sizeof(traced));
}

int sct_trace_arm(const unsigned long *wanted)
{
	lockdep_assert_held(&sct_lock);
	bitmap_or(armed, armed, wanted, SCT_CALLS_MAX);
	return test_bit(ID_BUSY, wanted) ? -EBUSY : 0;
}

/* It is permissive here: what is enforced depends on hooks. */
bool sct_enforcing(void)
{
	return false;
}

const char *sct_promise_hinders(const struct sct_filters *filters, const unsigned long *traced)
{
	return NULL;
}

/* Before the filters are in force, and again after: see publish() in stage.c. */
void sct_points_examine(const struct sct_filters *filters, bool more)
{
	lockdep_assert_held(&sct_lock);
	assert((filters != sct_filters_active) == more);
}

void sct_trace_commit(const unsigned long *wanted)
{
	lockdep_assert_held(&sct_lock);
	memcpy(traced, wanted, sizeof(traced));
	memcpy(armed, wanted, sizeof(armed));
}

/* Whoever listens is told that it asks again; here nobody does. */
void sct_changed(void)
{
	lockdep_assert_held(&sct_lock);
}

void sct_trace_rollback(void)
{
	lockdep_assert_held(&sct_lock);
	memcpy(armed, traced, sizeof(armed));
}

/* Whether what is armed is what is traced. */
bool calls_settled(void)
{
	return !memcmp(armed, traced, sizeof(armed));
}

void calls_reset(void)
{
	memset(traced, 0, sizeof(traced));
	mutex_lock(&sct_lock);
	for (size_t i = 0; i < ARRAY_SIZE(on_at_load); i++)
		__set_bit(sct_points_get(on_at_load[i]), traced);
	mutex_unlock(&sct_lock);
	memcpy(armed, traced, sizeof(armed));
}
