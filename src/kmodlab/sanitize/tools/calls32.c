// SPDX-License-Identifier: GPL-2.0-only
/* calls32: a 32-bit program, which needs no library: 2,000 rounds of calls that filters and arguments are about. */
static long call(long number, long a, long b, long c)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	return ret;
}

#define EXIT 1
#define OPEN 5
#define CLOSE 6
#define UNLINK 10
#define MKDIR 39
#define RMDIR 40
#define GETPPID 64
#define SOCKETCALL 102 /* 3: connect */
#define OPENAT 295

void _start(void)
{
	static long nowhere[3] = { -1, 8, 16 };
	int i;

	for (i = 0; i < 2000; i++) {
		call(MKDIR, (long)"/run/directory-32", 0700, 0);
		call(RMDIR, (long)"/run/directory-32", 0, 0);
		call(MKDIR, -4096, 0, 0); /* no address of a path */
		call(CLOSE, call(OPEN, (long)"/etc/hostname", 0, 0), 0, 0);
		call(CLOSE, call(OPENAT, -100, (long)"/etc/hostname", 0), 0, 0);
		call(UNLINK, (long)"", 0, 0);
		call(SOCKETCALL, 3, (long)nowhere, 0);
		call(GETPPID, 0, 0, 0);
		call(400 + i % 200, i, i, i); /* there, or not */
	}
	call(EXIT, 0, 0, 0);
}
