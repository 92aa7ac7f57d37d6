// SPDX-License-Identifier: GPL-2.0
/* The zoo: processes in every state, with every kind of name and identity, alive until the script ends. */
#include "helper.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAX_ANIMALS 20000
#define READY_MS 60000
#define CROWD_STACK 4096

struct nest {
	int ready;
	int links;
	pid_t pid[64];
};

static pid_t animal[MAX_ANIMALS];
static int animals, crowd_from;

static void remember(pid_t pid)
{
	if (animals == MAX_ANIMALS)
		die("the zoo is full");
	animal[animals++] = pid;
}

static _Noreturn void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void *sleeping_thread(void *arg)
{
	(void)arg;
	sleep_for_ever();
}

static _Noreturn void burn_for_ever(void)
{
	volatile unsigned long n = 0;

	for (;;)
		n = n + 1;
}

static void *burning_thread(void *arg)
{
	(void)arg;
	burn_for_ever();
}

static void add_threads(long threads, void *(*body)(void *))
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	while (--threads > 0)
		if (pthread_create(&thread, &attr, body, NULL))
			_exit(1);
}

static void take_memory(long mb)
{
	size_t size = mb << 20;
	char *at = mmap(NULL, size * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		_exit(1);
	memset(at, 1, size);
}

static void take_identity(const struct step *s)
{
	long gid = option_long(s, "gid", -1), uid = option_long(s, "uid", -1);
	long policy = option_long(s, "policy", -1);
	struct sched_param rt = { .sched_priority = option_long(s, "rt", 0) };

	if (policy >= 0 && sched_setscheduler(0, policy, &rt))
		_exit(1);
	if (option(s, "nice") && setpriority(PRIO_PROCESS, 0, option_long(s, "nice", 0)))
		_exit(1);
	if (gid >= 0 && syscall(__NR_setresgid, gid, option_long(s, "egid", gid), 0))
		_exit(1);
	if (uid >= 0 && syscall(__NR_setresuid, uid, option_long(s, "euid", uid), 0))
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of identity forgets it */
}

/* Each link of the chain makes the next one and sleeps. */
static _Noreturn void be_chain(struct nest *nest, long depth)
{
	while (nest->links < depth) {
		pid_t pid = fork();

		if (pid < 0)
			_exit(1);
		if (pid)
			sleep_for_ever();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		nest->pid[nest->links++] = getpid();
	}
	nest->ready = 1;
	sleep_for_ever();
}

static _Noreturn void be_vfork_parent(struct nest *nest)
{
	nest->ready = 1;
	if (!vfork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	_exit(1);
}

/* Traces the animal that was made before it, which stays the keeper's child. */
static _Noreturn void be_tracer(struct nest *nest)
{
	if (ptrace(PTRACE_ATTACH, last_pid, 0, 0))
		_exit(1);
	nest->ready = 1;
	sleep_for_ever();
}

static _Noreturn void be(const char *kind, const struct step *s, struct nest *nest)
{
	if (!strcmp(kind, "chain"))
		be_chain(nest, option_long(s, "depth", 8));
	if (!strcmp(kind, "vfork"))
		be_vfork_parent(nest);
	if (!strcmp(kind, "tracer"))
		be_tracer(nest);
	if (!strcmp(kind, "traced"))
		ptrace(PTRACE_TRACEME, 0, 0, 0);
	nest->ready = 1;
	if (!strcmp(kind, "traced") || !strcmp(kind, "stopped"))
		raise(SIGSTOP);
	if (!strcmp(kind, "leaderdead"))
		syscall(__NR_exit, 0);
	if (!strcmp(kind, "zombie"))
		_exit(0);
	if (!strcmp(kind, "burner"))
		burn_for_ever();
	sleep_for_ever();
}

static char expected_state(const char *kind)
{
	static const struct {
		const char *kind;
		char state;
	} states[] = { { "zombie", 'Z' }, { "stopped", 'T' }, { "traced", 't' },
		       { "burner", 'R' }, { "vfork", 'D' },   { "leaderdead", 'Z' } };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(states); i++)
		if (!strcmp(states[i].kind, kind))
			return states[i].state;
	return 'S';
}

static void wait_for_state(const struct nest *nest, pid_t pid, const char *what, char state)
{
	long deadline = now_ms() + READY_MS;

	while (!*(volatile const int *)&nest->ready || !proc_state_is(pid, state)) {
		if (now_ms() > deadline)
			die("%s (process %d) did not reach state %c", what, pid, state);
		nap_ms(2);
	}
}

static _Noreturn void grow_up(const struct step *s, struct nest *nest)
{
	bool burns = option(s, "burn") != NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (option(s, "was"))
		prctl(PR_SET_NAME, option(s, "was"));
	add_threads(option_long(s, "threads", 1), burns ? burning_thread : sleeping_thread);
	prctl(PR_SET_NAME, s->word[2]);
	if (option(s, "mem"))
		take_memory(option_long(s, "mem", 0));
	take_identity(s);
	be(s->word[1], s, nest);
}

/*
 * spawn KIND COMM [threads=N] [burn=1] [mem=MB] [uid=U] [euid=U] [gid=G] [egid=G] [nice=N] [policy=N] [rt=N] [was=COMM]
 * KIND: sleeper zombie stopped traced burner vfork leaderdead chain tracer; depth=N for chain
 */
void step_spawn(const struct step *s)
{
	struct nest *nest = mmap(NULL, sizeof(*nest), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();
	int i;

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid)
		grow_up(s, nest);
	remember(pid);
	last_pid = pid;
	wait_for_state(nest, pid, s->word[1], expected_state(s->word[1]));
	out_long("pid", pid);
	out_key("links");
	out_raw("[");
	for (i = 0; i < nest->links; i++) {
		char digits[16];

		wait_for_state(nest, nest->pid[i], s->word[1], 'S');
		snprintf(digits, sizeof(digits), "%s%d", i ? "," : "", nest->pid[i]);
		out_raw(digits);
	}
	out_raw("]");
	munmap(nest, sizeof(*nest));
}

/* A session's cgroup may limit the number of its tasks; the root cgroup does not. */
static void leave_cgroup(void)
{
	int fd = open("/sys/fs/cgroup/cgroup.procs", O_WRONLY | O_CLOEXEC);
	ssize_t ignored = fd < 0 ? 0 : write(fd, "0", 1);

	(void)ignored;
	if (fd >= 0)
		close(fd);
}

static int in_the_crowd(void *unused)
{
	(void)unused;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sleep_for_ever();
}

/*
 * crowd N [apart]: that many sleepers at once; says how many there could be, and who.
 * They share this process's memory: to copy it takes most of a fork's time under emulation. But what it takes from
 * then on, each of them takes; so where memory has to be at rest each has its own.
 */
void step_crowd(const struct step *s)
{
	long wanted = word_long(s, 1), made = 0;
	int flags = (s->words > 2 ? 0 : CLONE_VM) | SIGCHLD;
	char *stacks = mmap(NULL, wanted * CROWD_STACK, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (stacks == MAP_FAILED)
		die("no memory for a crowd");
	leave_cgroup();
	crowd_from = animals;
	out_key("pids");
	out_raw("[");
	while (made < wanted) {
		char digits[16];
		pid_t pid = clone(in_the_crowd, stacks + (made + 1) * CROWD_STACK, flags, NULL);

		if (pid < 0)
			break;
		remember(pid);
		snprintf(digits, sizeof(digits), "%s%d", made++ ? "," : "", pid);
		out_raw(digits);
	}
	out_raw("]");
}

static void send_home(int from)
{
	int i;

	for (i = from; i < animals; i++)
		kill(animal[i], SIGKILL);
	while (animals > from) {
		pid_t pid = animal[--animals];

		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	}
}

/* disband: end the crowd */
void step_disband(const struct step *s)
{
	(void)s;
	send_home(crowd_from);
}

void zoo_end(void)
{
	send_home(0);
}
