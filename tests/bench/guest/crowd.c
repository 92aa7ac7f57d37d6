// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that sleep: crowd NUMBER. Once all of them do, a line is printed: `crowd NUMBER`. They end with this one.
 *
 * Each is a process of its own to the kernel and to ps, with a name of its own, but they share this one's memory: so
 * there is room for a hundred thousand.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define STACK 1024
#define SHARED (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND)

static int sleeps(void *number)
{
	char name[16] = "crowd-";
	unsigned long n = (unsigned long)number;
	char *at = name + sizeof(name) - 1;

	/* Without printf(), which takes more of a stack than this one has. */
	do
		*--at = '0' + n % 10;
	while (n /= 10);
	for (n = 6; *at; n++)
		name[n] = *at++;
	name[n] = 0;
	prctl(PR_SET_NAME, name);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long number = argc == 2 ? strtoul(argv[1], NULL, 10) : 0, n;
	char *stacks = malloc((number + 1) * STACK);

	if (!number || !stacks) {
		fprintf(stderr, "usage: crowd NUMBER\n");
		return 2;
	}
	for (n = 0; n < number; n++) {
		unsigned long top = (unsigned long)(stacks + (n + 1) * STACK) & ~63ul;

		if (clone(sleeps, (void *)top, SHARED | SIGCHLD, (void *)n) < 0) {
			perror("clone");
			return 1;
		}
	}
	/* The last of them has slept by then, on one processor. */
	sleep(1);
	printf("crowd %lu\n", number);
	fflush(stdout);
	pause();
	return 0;
}
