// SPDX-License-Identifier: GPL-2.0-only
/*
 * Families: the system calls that a user means by one name.
 *
 * Which member of a family libc calls differs between architectures and years.
 */
#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "tracer.h"

#define MEMBERS_MAX	7

struct family {
	const char *name;
	const char *member[MEMBERS_MAX + 1];	/* NULL-terminated */
};

static const struct family families[] = {
	/* files */
	{ "open", { "open", "openat", "openat2", "creat" } },
	{ "read", { "read", "pread64", "readv", "preadv", "preadv2" } },
	{ "write", { "write", "pwrite64", "writev", "pwritev", "pwritev2" } },
	{ "close", { "close", "close_range" } },
	{ "dup", { "dup", "dup2", "dup3" } },
	{ "pipe", { "pipe", "pipe2" } },
	{ "truncate", { "truncate", "ftruncate" } },
	{ "sync", { "sync", "syncfs", "fsync", "fdatasync" } },
	/* paths */
	{ "unlink", { "unlink", "unlinkat" } },
	{ "rename", { "rename", "renameat", "renameat2" } },
	{ "mkdir", { "mkdir", "mkdirat" } },
	{ "link", { "link", "linkat" } },
	{ "symlink", { "symlink", "symlinkat" } },
	{ "readlink", { "readlink", "readlinkat" } },
	{ "mknod", { "mknod", "mknodat" } },
	{ "chmod", { "chmod", "fchmod", "fchmodat", "fchmodat2" } },
	{ "chown", { "chown", "fchown", "lchown", "fchownat" } },
	{ "access", { "access", "faccessat", "faccessat2" } },
	{ "stat", { "stat", "fstat", "lstat", "newfstatat", "statx" } },
	{ "statfs", { "statfs", "fstatfs" } },
	{ "utime", { "utime", "utimes", "futimesat", "utimensat" } },
	{ "chdir", { "chdir", "fchdir" } },
	{ "getdents", { "getdents", "getdents64" } },
	{ "umount", { "umount2" } },
	{ "getxattr", { "getxattr", "lgetxattr", "fgetxattr", "getxattrat" } },
	{ "setxattr", { "setxattr", "lsetxattr", "fsetxattr", "setxattrat" } },
	{ "listxattr",
	  { "listxattr", "llistxattr", "flistxattr", "listxattrat" } },
	{ "removexattr",
	  { "removexattr", "lremovexattr", "fremovexattr", "removexattrat" } },
	/* processes */
	{ "exec", { "execve", "execveat" } },
	{ "fork", { "fork", "vfork", "clone", "clone3" } },
	{ "clone", { "clone", "clone3" } },
	{ "exit", { "exit", "exit_group" } },
	{ "wait", { "wait4", "waitid" } },
	{ "kill", { "kill", "tkill", "tgkill" } },
	{ "nanosleep", { "nanosleep", "clock_nanosleep" } },
	/* sockets */
	{ "accept", { "accept", "accept4" } },
	{ "send", { "sendto", "sendmsg", "sendmmsg" } },
	{ "recv", { "recvfrom", "recvmsg", "recvmmsg" } },
	/* waiting for files */
	{ "poll", { "poll", "ppoll" } },
	{ "select", { "select", "pselect6" } },
	{ "epoll_create", { "epoll_create", "epoll_create1" } },
	{ "epoll_wait", { "epoll_wait", "epoll_pwait", "epoll_pwait2" } },
	{ "eventfd", { "eventfd", "eventfd2" } },
	{ "signalfd", { "signalfd", "signalfd4" } },
	{ "inotify_init", { "inotify_init", "inotify_init1" } },
};

/**
 * sct_family_members() - look up a family
 * @name: of the family
 *
 * Context: Any.
 * Return: The names of its calls, NULL-terminated; NULL if it is no family.
 */
const char * const *sct_family_members(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(families); i++)
		if (!strcmp(families[i].name, name))
			return families[i].member;
	return NULL;
}
