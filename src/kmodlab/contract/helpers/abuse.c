// SPDX-License-Identifier: GPL-2.0
/* What a tracer must survive: a load of every kind under which steps run, and calls with bad pointers. */
#include "helper.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define TRACER_FILE "/proc/syscall_tracer"

static void use_files(void)
{
	char path[64], data[16] = "data";
	int fd;

	snprintf(path, sizeof(path), "%s/load-%d", work_dir, getpid());
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || write(fd, data, sizeof(data)) < 0 || pread(fd, data, sizeof(data), 0) < 0)
		_exit(1);
	close(fd);
	unlink(path);
}

static void *thread_ends(void *arg)
{
	syscall(__NR_getsid, 0);
	return arg;
}

static void make_tasks(void)
{
	pthread_t thread;
	pid_t pid = vfork();

	if (!pid) {
		syscall(__NR_execve, "/nothing", NULL, NULL);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	if (!pthread_create(&thread, NULL, thread_ends, NULL))
		pthread_join(thread, NULL);
}

static void kill_a_sleeper(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		poll(NULL, 0, -1);
		_exit(0);
	}
	while (!proc_state_is(pid, 'S'))
		sched_yield();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The file may be gone for a while; what is open stays open for a while. */
static void read_log(void)
{
	char piece[4096];
	int fd = open(TRACER_FILE, O_RDONLY);

	while (fd >= 0 && read(fd, piece, sizeof(piece)) > 0)
		;
	if (fd >= 0)
		close(fd);
}

static void write_filters(void)
{
	static const char *const lines[] = { "getsid block comm=nobody\n", "getsid delete\n" };
	static int turn;
	const char *line = lines[turn++ % 2];
	int fd = open(TRACER_FILE, O_WRONLY);

	if (fd < 0)
		return;
	if (write(fd, line, strlen(line)) < 0) {
		/* another writer was faster, or the module goes */
	}
	close(fd);
}

static const struct {
	const char *name;
	void (*round)(void);
} loads[] = {
	{ "files", use_files },	 { "tasks", make_tasks },	{ "killed", kill_a_sleeper },
	{ "reader", read_log },	 { "writer", write_filters },	{ "writer too", write_filters },
};

static _Noreturn void keep_busy(size_t i, volatile long *rounds)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "load");
	/* What it leaves behind must not hold the ends of the script's pipes. */
	close(0);
	close(1);
	close(2);
	for (;;) {
		loads[i].round();
		rounds[i]++;
	}
}

/* The load takes what the script leaves: the other processors, and this one while the script waits. */
#define SCRIPT_NICE (-20)

/* load SCRIPT: runs the script while all these are at work, and waits until each was at least once */
void step_load(const struct step *s)
{
	long *rounds = mmap(NULL, sizeof(*rounds) * ARRAY_SIZE(loads), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[ARRAY_SIZE(loads)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(loads); i++) {
		pid[i] = fork();
		if (!pid[i])
			keep_busy(i, rounds);
		setpgid(pid[i], pid[i]);
	}
	for (i = 0; i < ARRAY_SIZE(loads); i++)
		while (!((volatile long *)rounds)[i])
			nap_ms(1);
	out_key("inner");
	setpriority(PRIO_PROCESS, 0, SCRIPT_NICE);
	run_script(s->word[1]);
	setpriority(PRIO_PROCESS, 0, 0);
	for (i = 0; i < ARRAY_SIZE(loads); i++) {
		kill(-pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
		out_long(loads[i].name, rounds[i]);
	}
	munmap(rounds, sizeof(*rounds) * ARRAY_SIZE(loads));
}

/* Two pages, the second of which is not there: returns the end of the first. */
static char *edge(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(two + page, page);
	return two + page;
}

struct trial {
	const char *name;
	long error;
};

static void tried(struct trial *t, const char *name, long ret)
{
	t->name = name;
	t->error = ret < 0 ? errno : 0;
}

#define KERNEL_ADDRESS ((void *)0xffffffff81000000UL)
#define NO_ADDRESS ((void *)0x7234567890abcdefUL)
#define OPEN(path) syscall(__NR_openat, AT_FDCWD, path, O_RDONLY)

static struct trial *try_paths(struct trial *t)
{
	char *end = edge();

	tried(t++, "null", OPEN(NULL));
	tried(t++, "kernel", OPEN(KERNEL_ADDRESS));
	tried(t++, "not canonical", OPEN(NO_ADDRESS));
	tried(t++, "unmapped", OPEN(end));
	memcpy(end - 9, "/nothing", 9);
	tried(t++, "to the edge", OPEN(end - 9));
	memset(end - 9, 'x', 9);
	tried(t++, "over the edge", OPEN(end - 9));
	tried(t++, "two paths", syscall(__NR_renameat2, AT_FDCWD, KERNEL_ADDRESS, AT_FDCWD, NULL, 0));
	tried(t++, "negative size", syscall(__NR_read, 0, KERNEL_ADDRESS, -1));
	return t;
}

static struct trial *try_addresses(struct trial *t)
{
	char *end = edge();
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	tried(t++, "null address", syscall(__NR_connect, fd, NULL, 16));
	tried(t++, "kernel's address", syscall(__NR_connect, fd, KERNEL_ADDRESS, 16));
	tried(t++, "negative length", syscall(__NR_connect, fd, &in, -1));
	tried(t++, "huge length", syscall(__NR_connect, fd, &in, INT_MAX));
	tried(t++, "no length", syscall(__NR_connect, fd, &in, 0));
	memcpy(end - sizeof(in), &in, sizeof(in));
	tried(t++, "over the edge with its length", syscall(__NR_connect, fd, end - sizeof(in), 28));
	memcpy(end - sizeof(in) - 1, &in, sizeof(in));
	tried(t++, "misaligned", syscall(__NR_connect, fd, end - sizeof(in) - 1, sizeof(in)));
	return t;
}

/* hostile COMM: what each call with a bad pointer came to */
void step_hostile(const struct step *s)
{
	struct trial *trials = mmap(NULL, sizeof(*trials) * 32, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct trial *t;
	int status;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_NAME, s->word[1]);
		try_addresses(try_paths(trials));
		_exit(0);
	}
	if (waitpid(pid, &status, 0) < 0 || status)
		die("hostile: the child did not end well: %d", status);
	for (t = trials; t->name; t++)
		out_long(t->name, t->error);
	munmap(trials, sizeof(*trials) * 32);
}

static char *coming_and_going;

static void *come_and_go(void *arg)
{
	volatile bool *over = arg;
	long page = sysconf(_SC_PAGESIZE);

	while (!*over) {
		munmap(coming_and_going, page);
		mmap(coming_and_going, page, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		coming_and_going[0] = '/';
	}
	return NULL;
}

static void count_errors(long rounds, long *count)
{
	while (rounds-- > 0) {
		long ret = OPEN(coming_and_going);

		if (ret >= 0)
			close(ret);
		count[ret >= 0 ? 0 : errno == EFAULT ? 1 : errno == ENOENT ? 2 : 3]++;
	}
}

/* unmapping ROUNDS: opens a path in a page that another thread takes away and brings back */
void step_unmapping(const struct step *s)
{
	volatile bool over = false;
	long count[4] = { 0 };
	pthread_t thread;

	coming_and_going = edge() - sysconf(_SC_PAGESIZE);
	coming_and_going[0] = '/';
	if (pthread_create(&thread, NULL, come_and_go, (void *)&over))
		die("unmapping: no thread");
	count_errors(word_long(s, 1), count);
	over = true;
	pthread_join(thread, NULL);
	out_long("opened", count[0]);
	out_long("no page", count[1]);
	out_long("no name", count[2]);
	out_long("other", count[3]);
}
