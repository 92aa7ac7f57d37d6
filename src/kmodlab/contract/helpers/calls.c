// SPDX-License-Identifier: GPL-2.0
/*
 * A process made for the purpose makes exactly the system calls asked for, by number: the C library
 * would choose another member of the family. Whatever a call needs is prepared by the parent, and
 * what the child learns is passed back in shared memory, so that the child makes no other traced call.
 */
#include "helper.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

struct target {
	char path[64], fresh[64]; /* a file that exists, a name that is free */
	int fd; /* the file, open */
	char data[8];
	struct iovec iov;
	struct open_how how;
	struct stat st;
	char spare[512];
	char *low; /* the path of the file, below 4 GiB */
};

struct report {
	long pid, tid, ret, error;
	long children; /* set by a forked child of the child: nothing to see */
};

struct job {
	const struct step *step;
	struct target *target;
	struct report *report;
};

#define CALL(name, ...)                                             \
	static long call_##name(struct target *t)                   \
	{                                                           \
		(void)t;                                            \
		return syscall(__NR_##name, ##__VA_ARGS__);         \
	}
#define FORK_CALL(name, ...)                                        \
	static long call_##name(struct target *t)                   \
	{                                                           \
		long pid = syscall(__NR_##name, ##__VA_ARGS__);     \
                                                                    \
		(void)t;                                            \
		if (!pid)                                           \
			_exit(0);                                   \
		return pid;                                         \
	}

#ifdef __x86_64__
static long int80(long nr, const long *arg)
{
	long ret, sixth = arg[5];

	asm volatile("xchg %%rbp, %1; int $0x80; xchg %%rbp, %1"
		     : "=a"(ret), "+r"(sixth)
		     : "a"(nr), "b"(arg[0]), "c"(arg[1]), "d"(arg[2]), "S"(arg[3]), "D"(arg[4])
		     : "memory", "r8", "r9", "r10", "r11");
	errno = (int)ret < 0 ? -(int)ret : 0;
	return (int)ret < 0 ? -1 : (int)ret;
}
#endif

#define COMPAT_CALL(name, nr, ...)                                 \
	static long call_##name(struct target *t)                   \
	{                                                           \
		const long arg[6] = { __VA_ARGS__ };                \
                                                                    \
		(void)t;                                            \
		return int80(nr, arg);                              \
	}

#include "calls.inc"

static const struct {
	const char *name;
	long (*make)(struct target *t);
} calls[] = {
#undef CALL
#undef FORK_CALL
#undef COMPAT_CALL
#define CALL(name, ...) { #name, call_##name },
#define FORK_CALL(name, ...) { #name, call_##name },
#define COMPAT_CALL(name, ...) { #name, call_##name },
#include "calls.inc"
};

static int find_call(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (!strncmp(calls[i].name, name, len) && !calls[i].name[len])
			return i;
	return -1;
}

static void prepare(struct target *t)
{
	static int serial;

	snprintf(t->path, sizeof(t->path), "%s/%d-%d", work_dir, getpid(), serial);
	snprintf(t->fresh, sizeof(t->fresh), "%s/%d-%d.new", work_dir, getpid(), serial++);
	t->fd = open(t->path, O_RDWR | O_CREAT | O_TRUNC, 0666);
	if (t->fd < 0 || fchmod(t->fd, 0666))
		die("cannot make %s: %s", t->path, strerror(errno));
	if (write(t->fd, "12345678", 8) != 8 || lseek(t->fd, 0, SEEK_SET))
		die("cannot write %s: %s", t->path, strerror(errno));
#ifdef __x86_64__
	t->low = mmap(NULL, sizeof(t->path), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (t->low == MAP_FAILED)
		die("no memory below 4 GiB: %s", strerror(errno));
	memcpy(t->low, t->path, sizeof(t->path));
#endif
	t->iov = (struct iovec){ t->data, sizeof(t->data) };
	t->how = (struct open_how){ .flags = O_RDONLY };
}

static void clean_up(struct target *t)
{
	struct stat st;

	out_long("path_exists", !lstat(t->path, &st));
	out_long("fresh_exists", !lstat(t->fresh, &st));
	if (t->low)
		munmap(t->low, sizeof(t->path));
	close(t->fd);
	unlink(t->path);
	if (unlink(t->fresh))
		rmdir(t->fresh);
}

/* NAME[:COUNT][,NAME[:COUNT]]... as the first word says */
static void make_calls(const struct job *job)
{
	const char *at = job->step->word[1];
	struct report *r = job->report;

	r->tid = syscall(__NR_gettid);
	while (*at) {
		size_t len = strcspn(at, ":,");
		int i = find_call(at, len);
		long count = 1;

		at += len;
		if (*at == ':')
			count = strtol(at + 1, (char **)&at, 10);
		at += *at == ',';
		while (count-- > 0) {
			r->ret = calls[i].make(job->target);
			r->error = r->ret < 0 ? errno : 0;
		}
	}
}

static void *thread_main(void *job)
{
	const char *comm = ((struct job *)job)->step->word[2];

	prctl(PR_SET_NAME, comm);
	make_calls(job);
	return NULL;
}

/* The child. Real and effective user differ on purpose: the contract promises the real one. */
static void child_main(struct job *job)
{
	const struct step *s = job->step;
	long uid = option_long(s, "uid", -1), cpu = option_long(s, "cpu", -1);
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, 9);
	prctl(PR_SET_NAME, s->word[2]);
	if (cpu >= 0)
		pin_to_cpu(cpu);
	if (uid >= 0 && syscall(__NR_setresuid, uid, uid + 1, 0))
		_exit(1);
	if (option(s, "thread")) {
		prctl(PR_SET_NAME, "leader");
		if (pthread_create(&thread, NULL, thread_main, job) || pthread_join(thread, NULL))
			_exit(1);
	} else {
		make_calls(job);
	}
	_exit(0);
}

static bool all_known(const char *list)
{
	while (*list) {
		size_t len = strcspn(list, ":,");

		if (find_call(list, len) < 0)
			return false;
		list += strcspn(list, ",");
		list += *list == ',';
	}
	return true;
}

/* call NAMES COMM [uid=U] [cpu=N] [thread=1] [pidns=1] */
void step_call(const struct step *s)
{
	struct report *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct target t = { 0 };
	struct job job = { s, &t, r };
	long flags = SIGCHLD | (option(s, "pidns") ? CLONE_NEWPID : 0);
	int status;

	if (s->words < 3)
		die("call: who makes it?");
	if (!all_known(s->word[1])) {
		out_long("missing", 1);
		return;
	}
	prepare(&t);
	last_pid = syscall(__NR_clone, flags, 0, 0, 0, 0);
	if (!last_pid)
		child_main(&job);
	if (last_pid < 0 || waitpid(last_pid, &status, 0) < 0 || status)
		die("call %s: the child did not end well: %d, %s", s->word[1], status, strerror(errno));
	out_long("pid", last_pid);
	out_long("tid", option(s, "pidns") ? last_pid : r->tid);
	out_long("seen_pid", r->tid);
	out_long("ret", r->ret);
	out_long("errno", r->error);
	clean_up(&t);
	munmap(r, sizeof(*r));
}
