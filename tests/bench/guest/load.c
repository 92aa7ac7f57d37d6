// SPDX-License-Identifier: GPL-2.0
/*
 * The workloads of the benchmark: load WORKLOAD:THREADS:ROUNDS:CHUNKS...
 *
 * Each is run CHUNKS times, with ROUNDS in each thread; for each time a line is printed: `load`, the workload, threads,
 * calls made by all threads, ns that it took. Thread n runs on processor n. Workloads: see below; `untraced` makes a
 * call that no tracer is told to trace. At last a line `issued CALL N` for each call that is traced.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 8

static unsigned long issued_getppid, issued_openat, issued_unlinkat;

static void do_getppid(void)
{
	syscall(SYS_getppid);
}

static void do_openat(void)
{
	syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, "/etc/hostname", O_RDONLY));
}

static void do_unlink(void)
{
	syscall(SYS_unlinkat, AT_FDCWD, "/nothing", 0);
}

static void do_untraced(void)
{
	syscall(SYS_getuid);
}

static const struct workload {
	const char *name;
	void (*round)(void);
	unsigned long calls; /* in a round */
	unsigned long *issued; /* rounds of all threads */
} workloads[] = {
	{ "getppid", do_getppid, 1, &issued_getppid },
	{ "openat", do_openat, 2, &issued_openat },
	{ "unlink", do_unlink, 1, &issued_unlinkat },
	{ "untraced", do_untraced, 1, NULL },
};

struct team {
	const struct workload *workload;
	unsigned long rounds;
	pthread_barrier_t start;
};

struct member {
	struct team *team;
	int cpu;
	unsigned long long begin, end; /* ns */
};

static unsigned long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void *work(void *arg)
{
	struct member *self = arg;
	void (*round)(void) = self->team->workload->round;
	unsigned long i;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(self->cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	/* strace --seccomp-bpf lets a thread run free after its first traced call. */
	do_getppid();
	pthread_barrier_wait(&self->team->start);
	self->begin = now();
	for (i = 0; i < self->team->rounds; i++)
		round();
	self->end = now();
	return NULL;
}

/* From the first thread's begin to the last one's end. The main thread may be woken when all is over. */
static unsigned long long run(struct team *team, int threads)
{
	struct member members[THREADS_MAX];
	pthread_t ids[THREADS_MAX];
	unsigned long long begin = 0, end = 0;
	int i;

	pthread_barrier_init(&team->start, NULL, threads);
	for (i = 0; i < threads; i++) {
		members[i] = (struct member){ team, i, 0, 0 };
		if (pthread_create(&ids[i], NULL, work, &members[i]))
			exit(2);
	}
	for (i = 0; i < threads; i++) {
		pthread_join(ids[i], NULL);
		begin = !i || members[i].begin < begin ? members[i].begin : begin;
		end = !i || members[i].end > end ? members[i].end : end;
	}
	pthread_barrier_destroy(&team->start);
	return end - begin;
}

static const struct workload *find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(workloads) / sizeof(*workloads); i++)
		if (!strcmp(workloads[i].name, name))
			return &workloads[i];
	return NULL;
}

static void repeat(struct team *team, int threads, int chunks)
{
	unsigned long rounds = threads * team->rounds;

	while (chunks--) {
		unsigned long long ns = run(team, threads);

		printf("load %s %d %lu %llu\n", team->workload->name, threads, rounds * team->workload->calls, ns);
		issued_getppid += threads;
		if (team->workload->issued)
			*team->workload->issued += rounds;
	}
}

int main(int argc, char **argv)
{
	int i, threads, chunks;
	char name[32];

	for (i = 1; i < argc; i++) {
		struct team team = { NULL };

		if (sscanf(argv[i], "%31[a-z]:%d:%lu:%d", name, &threads, &team.rounds, &chunks) == 4)
			team.workload = find(name);
		if (!team.workload || threads < 1 || threads > THREADS_MAX)
			return 2;
		repeat(&team, threads, chunks);
	}
	printf("issued getppid %lu\n", issued_getppid);
	printf("issued openat %lu\n", issued_openat);
	printf("issued close %lu\n", issued_openat);
	printf("issued unlinkat %lu\n", issued_unlinkat);
	return 0;
}
