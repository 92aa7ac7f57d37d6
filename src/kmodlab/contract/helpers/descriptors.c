// SPDX-License-Identifier: GPL-2.0
/* Every system call that takes a descriptor, on an open file of the modules. */
#include "helper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static char text[64] = "# nothing\n";
static int ends[2], null_fd;

static long try_lseek_set(int fd) { return lseek(fd, 1, SEEK_SET); }
static long try_lseek_cur(int fd) { return lseek(fd, 1, SEEK_CUR); }
static long try_lseek_end(int fd) { return lseek(fd, 0, SEEK_END); }
static long try_lseek_far(int fd) { return lseek(fd, 0x7fffffffffff0000, SEEK_SET); }
static long try_lseek_hole(int fd) { return lseek(fd, 0, SEEK_HOLE); }
static long try_pread(int fd) { return pread(fd, text, 8, 1); }
static long try_pread_far(int fd) { return pread(fd, text, 8, 0x7fffffffffff0000); }
static long try_pread_negative(int fd) { return pread(fd, text, 8, -1); }
static long try_read_nothing(int fd) { return read(fd, text, 0); }
static long try_read_bad(int fd) { return read(fd, (void *)8, 64); }
static long try_pwrite(int fd) { return pwrite(fd, "#\n", 2, 3); }
static long try_write_nothing(int fd) { return write(fd, text, 0); }

static struct iovec two[2] = { { text, 4 }, { text + 4, 4 } };

static long try_readv(int fd) { return readv(fd, two, 2); }
static long try_preadv2(int fd) { return syscall(SYS_preadv2, fd, two, 2, 0L, 0L, 8 /* RWF_NOWAIT */); }
static long try_ioctl(int fd) { return ioctl(fd, 0x5401, text); }
static long try_fsync(int fd) { return fsync(fd); }
static long try_fallocate(int fd) { return fallocate(fd, 0, 0, 1); }
static long try_ftruncate(int fd) { return ftruncate(fd, 1); }
static long try_splice_from(int fd) { return splice(fd, NULL, ends[1], NULL, 64, SPLICE_F_NONBLOCK); }
static long try_sendfile_from(int fd) { return sendfile(null_fd, fd, NULL, 64); }
static long try_readahead(int fd) { return readahead(fd, 0, 4096); }
static long try_copy(int fd) { return syscall(SYS_copy_file_range, fd, NULL, null_fd, NULL, 64UL, 0U); }
static long try_async(int fd) { return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC); }
static long try_lease(int fd) { return fcntl(fd, F_SETLEASE, F_RDLCK); }

static long try_mmap(int fd)
{
	return mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0;
}

static long try_mmap_written(int fd)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0;
}

static long try_poll(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI };

	return poll(&one, 1, 0);
}

static long try_splice_to(int fd)
{
	long ret;

	if (write(ends[1], "#\n", 2) != 2)
		die("descriptors: the pipe is full");
	ret = splice(ends[0], NULL, fd, NULL, 2, SPLICE_F_NONBLOCK);
	if (ret < 0 && read(ends[0], text, 2) != 2)
		die("descriptors: the pipe is empty");
	return ret;
}

static long try_fstat(int fd)
{
	struct stat st;

	return fstat(fd, &st);
}

static long try_dup(int fd)
{
	int other = dup(fd);

	return other < 0 ? -1 : close(other);
}

#define TRY(name) { #name, try_##name }

static const struct {
	const char *name;
	long (*make)(int fd);
} tries[] = {
	TRY(lseek_set), TRY(lseek_cur), TRY(lseek_end), TRY(lseek_far), TRY(lseek_hole), TRY(pread), TRY(pread_far),
	TRY(pread_negative), TRY(read_nothing), TRY(read_bad), TRY(pwrite), TRY(write_nothing), TRY(readv),
	TRY(preadv2), TRY(ioctl), TRY(fsync), TRY(fallocate), TRY(ftruncate), TRY(splice_from), TRY(splice_to),
	TRY(sendfile_from), TRY(readahead), TRY(copy), TRY(async), TRY(lease), TRY(mmap), TRY(mmap_written), TRY(poll),
	TRY(fstat), TRY(dup),
};

static int mode_of(const char *name)
{
	if (!strcmp(name, "path"))
		return O_PATH;
	return !strcmp(name, "r") ? O_RDONLY : !strcmp(name, "w") ? O_WRONLY : O_RDWR;
}

/* descriptors PATH r|w|rw|path: what each call came to, 0 or its errno, each on an open file of its own */
void step_descriptors(const struct step *s)
{
	size_t i;

	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null_fd < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		die("descriptors: %s", strerror(errno));
	for (i = 0; i < ARRAY_SIZE(tries); i++) {
		int fd = open(s->word[1], mode_of(s->word[2]) | O_CLOEXEC);

		if (fd < 0)
			die("descriptors: %s: %s", s->word[1], strerror(errno));
		out_long(tries[i].name, tries[i].make(fd) < 0 ? errno : 0);
		close(fd);
	}
	close(ends[0]);
	close(ends[1]);
	close(null_fd);
}
