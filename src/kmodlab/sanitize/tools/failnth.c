// SPDX-License-Identifier: GPL-2.0-only
/*
 * failnth MOST OPERATION FILE [TEXT]: do something once for each allocation that the kernel makes for it, and have this
 * one fail, until none is left to fail or MOST have. /proc/thread-self/fail-nth says which: see fault-injection.rst.
 *
 * OPERATION: insmod (TEXT: parameters), open, read, write (TEXT), send (FILE: a message of netlink, whose type becomes that
 * of the family TEXT). Prints a line of JSON: how many failed, whether the last one went through untouched, and what each
 * came to.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "genl.h"

#define ERRNO_MAX 200

static char buffer[1 << 16];
static size_t size; /* of what is sent */

struct attempt {
	int fd;
	long ret;
	int err;
};

static void die(const char *what)
{
	fprintf(stderr, "failnth: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void arm(int fail, int n)
{
	char digits[16];
	int length = snprintf(digits, sizeof(digits), "%d", n);

	if (pwrite(fail, digits, length, 0) != length)
		die("fail-nth");
}

/* How many allocations are left before the one that fails: 0 if it did. */
static int left(int fail)
{
	char digits[16] = "";

	if (pread(fail, digits, sizeof(digits) - 1, 0) < 0)
		die("fail-nth");
	return atoi(digits);
}

static long read_all(int fd)
{
	long ret, sum = 0;

	while ((ret = read(fd, buffer, sizeof(buffer))) > 0)
		sum += ret;
	return ret < 0 ? ret : sum;
}

/* Read the message that is sent, and make it one for the family. */
static void address(const char *file, const char *family)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	size = read(fd, buffer, sizeof(buffer));
	close(fd);
	((struct nlmsghdr *)buffer)->nlmsg_type = genl_find(family).id;
	if (size < NLMSG_HDRLEN + GENL_HDRLEN || !((struct nlmsghdr *)buffer)->nlmsg_type)
		die(file);
}

static int prepare(const char *operation, const char *file)
{
	int fd = -1;

	if (!strcmp(operation, "send"))
		fd = genl_socket();
	else if (!strcmp(operation, "insmod") || !strcmp(operation, "read"))
		fd = open(file, O_RDONLY | O_CLOEXEC);
	else if (!strcmp(operation, "write"))
		fd = open(file, O_WRONLY | O_CLOEXEC);
	else
		return -1;
	if (fd < 0)
		die(file);
	return fd;
}

static long act(const char *operation, struct attempt *one, const char *file, const char *text)
{
	if (!strcmp(operation, "insmod"))
		return syscall(SYS_finit_module, one->fd, text, 0);
	if (!strcmp(operation, "open"))
		return one->fd = open(file, O_RDONLY | O_CLOEXEC);
	if (!strcmp(operation, "read"))
		return read_all(one->fd);
	if (!strcmp(operation, "write"))
		return write(one->fd, text, strlen(text));
	return send(one->fd, buffer, size, 0);
}

/* A request that fails is answered: with an error, negative, or with nothing where there was no memory for that. */
static int answered(int fd)
{
	static char answer[1 << 16];
	ssize_t got = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
	struct nlmsghdr *head = (void *)answer;

	if (got < 0)
		return errno == EAGAIN ? ENOBUFS : errno;
	if (head->nlmsg_type != NLMSG_ERROR)
		return 0;
	return -*(int *)NLMSG_DATA(head);
}

static int attempt(int fail, int n, struct attempt *one, const char *operation, const char *file, const char *text)
{
	int rest;

	one->fd = prepare(operation, file);
	arm(fail, n);
	one->ret = act(operation, one, file, text);
	one->err = errno;
	rest = left(fail);
	arm(fail, 0);
	if (!strcmp(operation, "send") && one->ret >= 0) {
		one->err = answered(one->fd);
		one->ret = one->err ? -1 : 0;
	}
	if (one->fd >= 0)
		close(one->fd);
	return rest;
}

static void unload(const char *file)
{
	char name[64];

	snprintf(name, sizeof(name), "%s", strrchr(file, '/') ? strrchr(file, '/') + 1 : file);
	*strchrnul(name, '.') = '\0';
	if (syscall(SYS_delete_module, name, 0))
		die(name);
}

int main(int argc, char **argv)
{
	int fail = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	int came_to[ERRNO_MAX] = { 0 }, n, i, whole = 0;
	const char *text = argc > 4 ? argv[4] : "";

	if (argc < 4 || fail < 0)
		die(argc < 4 ? "usage: failnth MOST OPERATION FILE [TEXT]" : "fail-nth");
	/* What this process needs itself is there before: what fails is to be the module's. */
	mlockall(MCL_CURRENT);
	if (!strcmp(argv[2], "send"))
		address(argv[3], text);
	for (n = 1; n <= atoi(argv[1]) && !whole; n++) {
		struct attempt one;

		whole = attempt(fail, n, &one, argv[2], argv[3], text) > 0;
		came_to[one.ret >= 0 ? 0 : one.err % ERRNO_MAX]++;
		if (one.ret >= 0 && !strcmp(argv[2], "insmod"))
			unload(argv[3]);
	}
	printf("{\"failed\": %d, \"whole\": %s, \"came_to\": {", n - 1 - whole, whole ? "true" : "false");
	for (i = 0, n = 0; i < ERRNO_MAX; i++)
		if (came_to[i])
			printf("%s\"%s\": %d", n++ ? ", " : "", i ? strerrorname_np(i) : "ok", came_to[i]);
	printf("}}\n");
	return 0;
}
