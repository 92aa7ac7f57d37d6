// SPDX-License-Identifier: GPL-2.0
/* An execve() whose path cannot be read at entry, and where it lay the new image has something else. */
#include "helper.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define PAGE 4096UL
/* The last page of the stack of a program whose addresses are not made up: the kernel fills it from its end. */
#ifdef __aarch64__
#define STACK_PAGE ((1UL << 48) - PAGE)
#else
#define STACK_PAGE (0x7ffffffff000UL - PAGE)
#endif
#define ENVIRONMENT "/usr/bin/innocent"

/* Where the new image has its environment: below the name of the program and a word of zeros. */
static unsigned long environment_at(const char *program)
{
	return STACK_PAGE + PAGE - sizeof(long) - (strlen(program) + 1) - sizeof(ENVIRONMENT);
}

/* A page of a file that was only written: the kernel has it, the page table has not. */
static void map_unread(unsigned long path_at, const char *program)
{
	char page[PAGE] = { 0 };
	char name[128];
	int fd;

	strcpy(page + path_at % PAGE, program);
	snprintf(name, sizeof(name), "%s/page-%d", work_dir, getpid());
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, page, PAGE) != (ssize_t)PAGE ||
	    mmap((void *)STACK_PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
		_exit(1);
}

/* This may be the end of the stack it runs on, so it is done from far below. */
static __attribute__((noinline)) void start(const char *program, volatile char *far)
{
	static char *args[] = { "disguised", NULL }, *environment[] = { ENVIRONMENT, NULL };
	static char own[128];
	unsigned long path_at;

	far[0] = 1;
	snprintf(own, sizeof(own), "%s", program);
	path_at = environment_at(own);
	personality(ADDR_NO_RANDOMIZE);
	map_unread(path_at, own);
	execve((char *)path_at, args, environment);
	_exit(2);
}

/* disguise COMM PROGRAM: starts PROGRAM, which has its environment where its path was */
void step_disguise(const struct step *s)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		volatile char far[16 * PAGE];

		prctl(PR_SET_NAME, s->word[1]);
		start(s->word[2], far);
	}
	if (waitpid(pid, &status, 0) < 0)
		die("disguise: %s", strerror(errno));
	out_long("status", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}
