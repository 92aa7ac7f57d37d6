// SPDX-License-Identifier: GPL-2.0-only
/*
 * listen COUNT: COUNT sockets join all groups of the tracer's family, and nobody ever reads what comes, but one byte of
 * each message from every fourth. Says `ready`, and lasts until its standard input ends.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "genl.h"

int main(int argc, char **argv)
{
	struct genl_family family = genl_find("syscall_tracer");
	int count = argc > 1 ? atoi(argv[1]) : 0, i, j, *fd = calloc(count + 1, sizeof(*fd));
	struct pollfd end = { .fd = 0, .events = POLLIN };
	char byte;

	if (!family.id || !family.groups || !count)
		return 1;
	for (i = 0; i < count; i++) {
		fd[i] = genl_socket();
		for (j = 0; j < family.groups; j++)
			if (setsockopt(fd[i], SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &family.group[j], sizeof(int)))
				return 1;
	}
	puts("ready");
	fflush(stdout);
	while (!poll(&end, 1, 20))
		for (i = 0; i < count; i += 4)
			while (recv(fd[i], &byte, 1, 0) >= 0)
				;
	return 0;
}
