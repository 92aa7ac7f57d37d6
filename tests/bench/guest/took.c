// SPDX-License-Identifier: GPL-2.0
/*
 * How long a command takes whose output nobody reads: took RUNS COMMAND... For each run a line is printed: `took`, ns,
 * bytes that it wrote.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned long long now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000ull + at.tv_nsec;
}

int main(int argc, char **argv)
{
	int runs = argc > 2 ? atoi(argv[1]) : 0;

	while (runs-- > 0) {
		unsigned long long begun;
		int out = open("/dev/shm/took", O_RDWR | O_CREAT | O_TRUNC, 0600), status;
		pid_t child;

		begun = now();
		child = fork();
		if (!child) {
			dup2(out, 1);
			execvp(argv[2], argv + 2);
			_exit(127);
		}
		if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
			fprintf(stderr, "%s failed\n", argv[2]);
			return 1;
		}
		printf("took %llu %lld\n", now() - begun, (long long)lseek(out, 0, SEEK_END));
		close(out);
	}
	return 0;
}
