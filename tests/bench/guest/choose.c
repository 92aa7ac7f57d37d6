// SPDX-License-Identifier: GPL-2.0-only
/*
 * choose WORDS [PASSES]: read /proc/task_lister by a selection, and print what it shows. With PASSES, as often, each
 * time what changed since the last one; only the last one is printed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char page[1 << 18];
static char last[4096];
static size_t kept;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* The last line of what was read, across any number of reads. */
static void keep(const char *data, size_t size)
{
	if (size >= sizeof(last)) {
		data += size - sizeof(last) + 1;
		size = sizeof(last) - 1;
		kept = 0;
	}
	if (kept + size >= sizeof(last)) {
		memmove(last, last + kept + size - sizeof(last) + 1, sizeof(last) - 1 - size);
		kept = sizeof(last) - 1 - size;
	}
	memcpy(last + kept, data, size);
	kept += size;
	last[kept] = '\0';
}

static unsigned long long pass(int fd, const char *words, int show)
{
	char *at;
	ssize_t n;

	if (write(fd, words, strlen(words)) < 0)
		fail("write");
	kept = 0;
	while ((n = read(fd, page, sizeof(page))) > 0) {
		if (show && write(1, page, n) != n)
			fail("stdout");
		keep(page, n);
	}
	if (n < 0)
		fail("read");
	at = strstr(last, "{\"pass\":");
	return at ? strtoull(at + 8, NULL, 10) : 0;
}

int main(int argc, char **argv)
{
	int fd = open("/proc/task_lister", O_RDWR), passes = argc > 2 ? atoi(argv[2]) : 0, i;
	unsigned long long number = 0;
	char words[2048];

	if (fd < 0 || argc < 2)
		fail("/proc/task_lister");
	if (!passes)
		pass(fd, argv[1], 1);
	for (i = 0; i < passes; i++) {
		snprintf(words, sizeof(words), "%s since=%llu", argv[1], number);
		number = pass(fd, words, i == passes - 1);
	}
	return 0;
}
