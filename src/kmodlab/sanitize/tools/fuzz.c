// SPDX-License-Identifier: GPL-2.0-only
/*
 * fuzz SEED OPERATIONS CORPUS [KO...]: do things to the files and the netlink family of both modules, which are loaded,
 * at random, on two processors at once; load and unload the modules KO meanwhile.
 *
 * A program is 16 operations. One that reached code which none before it had reached is kept in the file CORPUS, and
 * others are made of it: KCOV says what was reached (https://docs.kernel.org/dev-tools/kcov.html), where the kernel has
 * it and the modules were built with KCOV_INSTRUMENT=y. Nothing here judges: the kernel's log does.
 *
 * What is blocked while filters are enforced is nothing that this program needs, nor anybody else to come to its end.
 * Prints a line of JSON: how many operations were done, how many of them went well, and what is in the corpus.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kcov.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "genl.h"

#define WORKERS 2
#define LENGTH 16 /* operations of a program */
#define SLOTS 8 /* descriptors that it may have open */
#define PROGRAMS 4096 /* of the corpus, at the most */
#define EDGES (1 << 20)
#define COVER (1 << 16) /* places in the code that one program may reach */
#define RELOADS 4000 /* operations from one to the next, on average */

#define ARRAY(list) (sizeof(list) / sizeof((list)[0]))

struct operation {
	uint8_t kind, slot;
	uint16_t a;
	uint32_t b;
};

struct program {
	struct operation operation[LENGTH];
};

/* What the workers share. */
static struct shared {
	int programs, loads, lock;
	long done, well;
	unsigned long begin[2], end[2]; /* of the modules' code */
	uint8_t edge[EDGES];
	struct program program[PROGRAMS];
} *shared;

static char **modules;
static int module_count;
static uint64_t state; /* of the generator of numbers */
static uint64_t *cover;
static int slots[SLOTS], null, pipes[2];
static struct genl_family family;
static char space[1 << 16];

static const char *const files[] = {
	"/proc/syscall_tracer", "/proc/syscall_tracer_stats", "/proc/task_lister",
	"/proc/task_detail",	"/proc/task_stats",	      "/proc/task_tree",
};

/* The first of them are names of calls, and what makes a command of one. */
#define NAMES 7
#define VERBS 3
static const char *const tracer_words[] = {
	"mkdir",  "rmdir",     "symlink", "getppid",	   "=mkdir",	 "=getppid", "=symlinkat", "block",  "allow",
	"delete", "clear",     "trace",	  "untrace",	   "errno=EXDEV", "errno=0",  "errno=4095", "pid=1", "pid=-1",
	"uid=0",  "uid=65534", "comm=x",  "comm=fuzz",	   "path=/tmp/", "path=",     "path=/",	    "#",     "\t",
	"=bogus", "=connect",  "show",	  "pid=2147483648", "uid=4294967295", "errno=ENOENT", "comm=", "\n", "=bind",
};

static const char *const lister_words[] = {
	"columns=pid,comm", "columns=id,state,rss", "columns=",	  "pid=1",	"pid=0",      "ppid=2",	    "uid=0",
	"uid=4294967295",   "state=S",		    "state=RSDTtXZPI", "comm=fuzz", "comm=k*", "kthreads=0", "kthreads=1",
	"threads=1",	    "threads=0",	    "since=0",	  "since=1",	"since=18446744073709551615",
	"format=table",	    "format=jsonl",	    "format=bin", "ended=1",	"ended=0",    "pid=1,2,3",  "x=1",
	"columns=cgroup",   "columns=exit,code,end", "\n",	  "threads=1 format=bin",
};

static const char *const parameters[] = {
	"syscall_tracer/parameters/returns", "syscall_tracer/parameters/enforce",
	"syscall_tracer/parameters/enforce_timeout", "task_lister/parameters/print",
};
static const char *const values[] = { "0", "1", "0", "1", "2", "-1", "y", "", "4294967296", "linear", "tree", "x" };
static const char *const tracer_given[] = {
	"", "hook=kprobe", "hook=ftrace returns=1", "log_entries=16", "data_bytes=64", "returns=1 returns_max=1",
	"log_entries=4294967295", "hook=x", "enforce=1", "proc_gid=4294967295",
};
static const char *const lister_given[] = { "", "ended=16", "ended=4294967295", "list=x", "detail=all" };
static const size_t sizes[] = { 0, 1, 7, 64, 511, 4095, 4096, 4097, 65536 };
static const off_t offsets[] = { 0, 1, 63, 64, 4095, 4096, 65536, 1 << 24, INT32_MAX, INT64_MAX, -1 };

static uint32_t next(void)
{
	state += 0x9e3779b97f4a7c15; /* splitmix64, by Vigna: https://prng.di.unimi.it/splitmix64.c */
	uint64_t z = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;

	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) >> 16;
}

static uint32_t below(uint32_t n)
{
	return next() % n;
}

#define PICK(list, number) ((list)[(number) % ARRAY(list)])

static void lock(void)
{
	while (__atomic_exchange_n(&shared->lock, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void unlock(void)
{
	__atomic_store_n(&shared->lock, 0, __ATOMIC_RELEASE);
}

/* -- what is written and sent ------------------------------------------------------------------------------------- */

/* Words in a row, at times one that makes a command first; of one text in four, some byte is another one. An operation's
 * own number decides alone: so it does the same whenever it is done.
 */
static size_t text(const char *const *words, size_t count, uint32_t number)
{
	uint64_t kept = state;
	size_t length = 0, i;

	state = number;
	if (words == tracer_words && below(2))
		length = sprintf(space, "%s %s ", words[below(NAMES)], words[NAMES + below(VERBS)]);
	for (i = below(6); i && length < 4096; i--)
		length += sprintf(space + length, "%s%s", words[below(count)], below(8) ? " " : "\n");
	if (!below(64)) { /* long */
		memset(space + length, "x\n ="[below(4)], 8192);
		length += 8192;
	}
	if (length && !below(4))
		space[below(length)] = below(256);
	state = kept;
	return length;
}

/* What a type of attribute most often has: strings are the names, and what filters compare with. */
static size_t payload_of(char *at, unsigned int type)
{
	uint32_t number = below(4) ? below(3) : next();

	if (type == 1 || type > 5)
		return sprintf(at, "%s", tracer_words[below(NAMES)]) + 1;
	memcpy(at, &number, sizeof(number));
	return sizeof(number);
}

static size_t attribute(char *at, unsigned int type, int depth)
{
	struct nlattr *one = (void *)at;
	char *payload = at + NLA_HDRLEN;
	size_t size = 0, i;

	one->nla_type = below(4) ? type : below(16) ? below(12) : below(65536);
	switch (below(8)) {
	case 0:
		for (size = below(below(2) ? 12 : 3000), i = 0; i < size; i++)
			payload[i] = i * 7;
		break;
	case 1:
		one->nla_type |= NLA_F_NESTED;
		for (i = depth < 3 ? below(3) : 0; i; i--)
			size += attribute(payload + size, i, depth + 1);
		break;
	default:
		size = payload_of(payload, one->nla_type);
		if (!below(8))
			size = below(size + 4);
	}
	one->nla_len = NLA_HDRLEN + size;
	size = NLA_ALIGN(one->nla_len);
	if (!below(16))
		one->nla_len = below(2) ? below(8) : 65535;
	return size;
}

static size_t message(uint32_t number)
{
	static const uint16_t flags[] = { NLM_F_ACK, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP | NLM_F_ACK, 0, 0xffff };
	struct nlmsghdr *head = (void *)space;
	struct genlmsghdr *generic = NLMSG_DATA(head);
	uint64_t kept = state;
	size_t length = NLMSG_HDRLEN + GENL_HDRLEN, i;

	state = number;
	memset(space, 0, sizeof(space));
	generic->cmd = below(16) ? below(14) : below(256);
	generic->version = below(8) ? 1 : below(4);
	for (i = 0; i < below(6); i++)
		length += attribute(space + length, i + 1, 0);
	head->nlmsg_type = below(64) ? (uint32_t)family.id : below(65536);
	head->nlmsg_flags = NLM_F_REQUEST | PICK(flags, below(16) ? below(4) : below(6));
	head->nlmsg_len = below(32) ? length : below(2 * length);
	state = kept;
	return length;
}

/* -- operations --------------------------------------------------------------------------------------------------- */

static long load(const char *file, uint32_t number)
{
	int lister = !!strstr(file, "task_lister");
	const char *given = number % 2 ? "" : lister ? PICK(lister_given, number / 2) : PICK(tracer_given, number / 2);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	long ret = syscall(SYS_finit_module, fd, given, 0);

	if (ret && errno != EEXIST && *given)
		ret = syscall(SYS_finit_module, fd, "", 0);
	close(fd);
	return ret;
}

/* Where a module's code lies now: what it reaches is told by how far that is in. See proc_modules(5). */
static void find_code(void)
{
	static const char *const names[] = { "syscall_tracer ", "task_lister " };
	FILE *list = fopen("/proc/modules", "re");
	char line[512], *at;
	size_t i;

	while (list && fgets(line, sizeof(line), list))
		for (i = 0; i < ARRAY(names); i++)
			if (!strncmp(line, names[i], strlen(names[i])) && (at = strstr(line, " 0x"))) {
				shared->begin[i] = strtoul(at, NULL, 16);
				shared->end[i] = shared->begin[i] + strtoul(line + strlen(names[i]), NULL, 10);
			}
	if (list)
		fclose(list);
}

static long reload(struct operation *one)
{
	char name[64];
	long ret;

	if (!module_count)
		return -1;
	const char *file = modules[one->a % module_count];

	snprintf(name, sizeof(name), "%s", strrchr(file, '/') + 1);
	*strchrnul(name, '.') = '\0';
	__atomic_add_fetch(&shared->loads, 1, __ATOMIC_SEQ_CST);
	ret = syscall(SYS_delete_module, name, O_NONBLOCK);
	load(file, one->b);
	lock();
	find_code();
	unlock();
	__atomic_add_fetch(&shared->loads, 1, __ATOMIC_SEQ_CST);
	family = genl_find("syscall_tracer");
	return ret;
}

static long calls(struct operation *one)
{
	static const char *const paths[] = { "/tmp/fuzz", "", "/", "/tmp/fuzz/no/such", (char *)8, (char *)-1 };
	const char *path = PICK(paths, one->b);

	switch (one->a % 6) {
	case 0:
		return mkdir(path, 0700);
	case 1:
		return rmdir(path);
	case 2:
		return symlink(path, "/tmp/fuzz/link");
	case 3:
		return getppid();
	case 4:
		return syscall(SYS_connect, -1, path, one->b % 300);
	default:
		return syscall(SYS_bind, slots[one->slot % SLOTS], path, one->b % 300);
	}
}

static long parameter(struct operation *one)
{
	char path[128];
	const char *value = PICK(values, one->b);
	int fd;
	long ret;

	/* A list of all tasks in the log, each time, would push out of it what matters. */
	snprintf(path, sizeof(path), "/sys/module/%s", parameters[one->a % 64 ? one->a % 3 : 3]);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ret = write(fd, value, strlen(value));
	close(fd);
	return ret;
}

static long act(struct operation *one);

/* Do what follows in a process of its own: in other namespaces, or as nobody. */
static long elsewhere(struct operation *one)
{
	static const int ways[] = { 0, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUSER | CLONE_NEWPID, CLONE_NEWNS };
	int count = 1 + one->a % 4, status;
	pid_t child = fork();

	if (child < 0)
		return -1;
	if (child)
		return waitpid(child, &status, 0);
	status = PICK(ways, one->b);
	/* Who asks for another namespace of processes is not in it: the children are. */
	if (unshare(status) == 0 && (status & CLONE_NEWPID) && fork()) {
		wait(&status);
		_exit(0);
	}
	if ((one->b & 256) && setresuid(65534, 65534, 65534))
		_exit(0);
	while (count--) {
		struct operation *each = ++one;

		if (each->kind != 14 && each->kind != 16)
			act(each);
	}
	_exit(0);
}

static long file_act(struct operation *one, int *fd)
{
	static const int flags[] = { O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_NONBLOCK, O_WRONLY | O_TRUNC | O_APPEND };
	size_t size = PICK(sizes, one->a);
	struct iovec parts[2] = { { space, size }, { space, size / 2 } };
	loff_t offset = PICK(offsets, one->b);
	void *mapped;

	switch (one->kind) {
	case 0:
		close(*fd);
		return *fd = open(PICK(files, one->a), PICK(flags, one->b) | O_CLOEXEC);
	case 1:
		return read(*fd, space, size);
	case 2:
		return pread(*fd, space, size, offset);
	case 3:
		return lseek(*fd, offset, one->a % 5);
	case 4:
		if (one->a & 1)
			return write(*fd, space, text(lister_words, ARRAY(lister_words), one->b));
		return write(*fd, space, text(tracer_words, ARRAY(tracer_words), one->b));
	case 5:
		return pwrite(*fd, space, text(tracer_words, ARRAY(tracer_words), one->b), PICK(offsets, one->a));
	case 6:
		return one->b & 1 ? readv(*fd, parts, 2) : preadv(*fd, parts, 2, offset);
	case 7:
		size = splice(*fd, one->b & 1 ? &offset : NULL, pipes[1], NULL, size, SPLICE_F_NONBLOCK);
		while (read(pipes[0], space, sizeof(space)) > 0)
			;
		return size;
	case 8:
		return sendfile(null, *fd, one->b & 1 ? &offset : NULL, size);
	case 9:
		mapped = mmap(NULL, 4096, PROT_READ, one->b & 1 ? MAP_SHARED : MAP_PRIVATE, *fd, 0);
		return mapped == MAP_FAILED ? -1 : munmap(mapped, 4096);
	default:
		return one->b & 1 ? poll(&(struct pollfd){ *fd, POLLIN | POLLOUT, 0 }, 1, 0) : ioctl(*fd, one->b, space);
	}
}

static long act(struct operation *one)
{
	int *fd = &slots[one->slot % SLOTS];

	switch (one->kind) {
	case 11:
		close(*fd);
		return *fd = genl_socket();
	case 12:
		return setsockopt(*fd, SOL_NETLINK, one->b & 1 ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP,
				  &family.group[one->a % GENL_GROUPS], sizeof(int));
	case 13:
		return send(*fd, space, message(one->b), MSG_DONTWAIT);
	case 14:
		return parameter(one);
	case 15:
		return calls(one);
	case 16:
		return reload(one);
	case 17:
		return recv(*fd, space, PICK(sizes, one->a), MSG_DONTWAIT | (one->b & 1 ? MSG_TRUNC : 0));
	case 18:
		return close(*fd);
	case 19:
		return dup3(*fd, slots[one->a % SLOTS], O_CLOEXEC);
	default:
		return file_act(one, fd);
	}
}

/* -- programs ----------------------------------------------------------------------------------------------------- */

/* How often each kind comes: what is slow is rare. 20 is `elsewhere`, which needs to know what follows. */
static const uint8_t often[] = {
	0,  0,	0,  0,	1,  1,	1,  2,	2,  3,	3,  4,	4,  4,	4,  5,	6,  7,	8,  9,	10, 11,
	11, 12, 12, 13, 13, 13, 13, 13, 14, 15, 15, 15, 15, 17, 17, 18, 19,
};

static struct operation fresh(void)
{
	struct operation one = { .kind = PICK(often, next()), .slot = below(SLOTS), .a = next(), .b = next() };

	if (!below(200))
		one.kind = 20;
	if (!below(RELOADS))
		one.kind = 16;
	return one;
}

static void make(struct program *new)
{
	int i, known = __atomic_load_n(&shared->programs, __ATOMIC_ACQUIRE);

	if (!known || !below(4)) {
		for (i = 0; i < LENGTH; i++)
			new->operation[i] = fresh();
		return;
	}
	*new = shared->program[below(known)];
	for (i = 1 + below(4); i; i--) {
		struct operation *one = &new->operation[below(LENGTH)];

		switch (below(5)) {
		case 0:
			*one = fresh();
			break;
		case 1:
			one->a = next();
			break;
		case 2:
			one->b = next();
			break;
		case 3:
			one->slot = below(SLOTS);
			break;
		default: /* a part of another one */
			*one = shared->program[below(known)].operation[below(LENGTH)];
		}
		if (one->kind == 16 && below(64))
			*one = fresh();
	}
}

/* Whether a program reached what none had before; what it did while a module came or went, nobody can tell. */
static int is_new(int loads)
{
	uint64_t i, found = 0, count = cover ? __atomic_load_n(&cover[0], __ATOMIC_RELAXED) : 0;

	if (loads != __atomic_load_n(&shared->loads, __ATOMIC_SEQ_CST))
		return 0;
	for (i = 1; i <= count && i < COVER; i++) {
		int which = cover[i] >= shared->begin[1] && cover[i] < shared->end[1];
		unsigned long at = cover[i] - shared->begin[which];

		if (cover[i] < shared->begin[which] || cover[i] >= shared->end[which])
			continue;
		at = (at * 2 + which) % EDGES;
		found += !shared->edge[at];
		shared->edge[at] = 1;
	}
	return !!found;
}

static void keep(struct program *one)
{
	lock();
	if (shared->programs < PROGRAMS) {
		shared->program[shared->programs] = *one;
		__atomic_add_fetch(&shared->programs, 1, __ATOMIC_RELEASE);
	}
	unlock();
}

static void run(struct program *one, int may_keep)
{
	int i, loads = __atomic_load_n(&shared->loads, __ATOMIC_SEQ_CST);
	long well = 0;

	if (cover)
		__atomic_store_n(&cover[0], 0, __ATOMIC_RELAXED);
	for (i = 0; i < LENGTH; i++) {
		struct operation *each = &one->operation[i];

		if (each->kind != 20)
			well += act(each) >= 0;
		else if (i + 4 < LENGTH)
			well += elsewhere(each) >= 0;
	}
	if (is_new(loads) && may_keep)
		keep(one);
	__atomic_add_fetch(&shared->done, LENGTH, __ATOMIC_RELAXED);
	__atomic_add_fetch(&shared->well, well, __ATOMIC_RELAXED);
}

static void begin_cover(void)
{
	int fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, KCOV_INIT_TRACE, COVER))
		return;
	cover = mmap(NULL, COVER * sizeof(*cover), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (cover == MAP_FAILED || ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
		cover = NULL;
}

static void work(int number, uint64_t seed, long operations)
{
	struct program one;
	cpu_set_t where;
	int i, known = shared->programs;

	CPU_ZERO(&where);
	CPU_SET(number, &where);
	sched_setaffinity(0, sizeof(where), &where);
	state = seed * WORKERS + number;
	for (i = 0; i < SLOTS; i++)
		slots[i] = dup(null);
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK))
		_exit(2);
	family = genl_find("syscall_tracer");
	begin_cover();
	/* Each one that was kept before is done once: it says what is known. */
	for (i = number; i < known; i += WORKERS)
		run(&shared->program[i], 0);
	while (__atomic_load_n(&shared->done, __ATOMIC_RELAXED) < operations) {
		make(&one);
		run(&one, 1);
	}
	_exit(0);
}

static void read_corpus(const char *path)
{
	FILE *file = fopen(path, "rbe");

	if (file) {
		shared->programs = fread(shared->program, sizeof(struct program), PROGRAMS, file);
		fclose(file);
	}
}

static int write_corpus(const char *path)
{
	FILE *file = fopen(path, "wbe");
	int whole = file && fwrite(shared->program, sizeof(struct program), shared->programs, file) ==
				    (size_t)shared->programs;

	return file && !fclose(file) && whole;
}

int main(int argc, char **argv)
{
	int i, edges = 0, status, failed = 0;

	if (argc < 4) {
		fprintf(stderr, "usage: fuzz SEED OPERATIONS CORPUS [KO...]\n");
		return 2;
	}
	modules = argv + 4;
	module_count = argc - 4;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	mkdir("/tmp/fuzz", 0700);
	read_corpus(argv[3]);
	find_code();
	for (i = 0; i < WORKERS; i++)
		if (!fork())
			work(i, strtoull(argv[1], NULL, 0), atol(argv[2]));
	while (wait(&status) > 0)
		failed |= status;
	for (i = 0; i < EDGES; i++)
		edges += shared->edge[i];
	if (failed || !write_corpus(argv[3])) {
		fprintf(stderr, "fuzz: a worker came to its end with status %#x, or %s was not written\n", failed, argv[3]);
		return 1;
	}
	printf("{\"operations\": %ld, \"went well\": %ld, \"reloads\": %d, \"programs\": %d, \"places reached\": %d}\n",
	       shared->done, shared->well, shared->loads / 2, shared->programs, edges);
	return 0;
}
