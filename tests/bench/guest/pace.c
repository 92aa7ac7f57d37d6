// SPDX-License-Identifier: GPL-2.0
/*
 * Calls at a steady pace: pace THREADS RATE SECONDS. Each thread makes RATE calls of getppid a second, in a hundred
 * bursts, or as fast as it can where RATE is 0: then SECONDS is thousands of calls. One that is late catches up. At last
 * a line is printed: `paced`, calls made by all threads, ns that it took.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 8
#define BURSTS 100
#define NS 1000000000ull

static unsigned long rate, number;

static unsigned long long now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * NS + at.tv_nsec;
}

static void *work(void *unused)
{
	unsigned long made, burst = rate ? rate / BURSTS : number;
	unsigned long long due = now();

	for (made = 0; made < number;) {
		unsigned long until = made + burst;
		struct timespec at;

		for (; made < until && made < number; made++)
			syscall(SYS_getppid);
		due += NS / BURSTS;
		at.tv_sec = due / NS;
		at.tv_nsec = due % NS;
		if (made < number)
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	}
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS_MAX];
	unsigned long long begun;
	int n, i;

	if (argc != 4 || (n = atoi(argv[1])) < 1 || n > THREADS_MAX) {
		fprintf(stderr, "usage: pace THREADS RATE SECONDS\n");
		return 2;
	}
	rate = strtoul(argv[2], NULL, 10);
	number = rate ? rate * strtoul(argv[3], NULL, 10) : 1000 * strtoul(argv[3], NULL, 10);
	begun = now();
	for (i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, work, NULL);
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("paced %lu %llu\n", n * number, now() - begun);
	return 0;
}
