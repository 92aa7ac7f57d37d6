// SPDX-License-Identifier: GPL-2.0
/* Steps on files: read in chunks of any size, write in one write(2), keep open, look at the mode. */
#include "helper.h"

#include <fcntl.h>
#include <sys/stat.h>

#define SLOTS 8
#define ENDLESS (64UL << 20)

static int slot[SLOTS] = { -1, -1, -1, -1, -1, -1, -1, -1 };

/* Everything from the current position on. Returns bytes, or -1; more than ENDLESS counts as never ending. */
ssize_t slurp_fd(int fd, size_t chunk, struct buffer *b)
{
	char *piece = malloc(chunk);
	ssize_t n;

	while ((n = read(fd, piece, chunk)) > 0) {
		buffer_add(b, piece, n);
		if (b->len > ENDLESS) {
			errno = EFBIG;
			n = -1;
			break;
		}
	}
	free(piece);
	return n < 0 ? -1 : (ssize_t)b->len;
}

/* Returns 0 or an errno. */
int slurp(const char *path, size_t chunk, struct buffer *b)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), error = 0;

	if (fd < 0)
		return errno;
	if (slurp_fd(fd, chunk, b) < 0)
		error = errno;
	close(fd);
	return error;
}

static size_t chunk_of(const struct step *s, int i)
{
	return s->words > i ? (size_t)word_long(s, i) : 65536;
}

/* read PATH [CHUNK] */
void step_read(const struct step *s)
{
	struct buffer b = { 0 };
	int error = slurp(s->word[1], chunk_of(s, 2), &b);

	out_long("errno", error);
	out_text("text", b.data ? b.data : "", b.len);
	buffer_free(&b);
}

/* filters: the last section of the tracer's page */
void step_filters(const struct step *s)
{
	struct buffer b = { 0 };
	int error = slurp("/proc/syscall_tracer", 65536, &b);
	char *at = NULL, *next = b.data;

	(void)s;
	while (next && (next = strstr(next, "\nActive Filters:")))
		at = next++;
	out_long("errno", error);
	out_string("text", at ? at + 1 : "");
	buffer_free(&b);
}

static unsigned long next_random(unsigned long *seed)
{
	*seed = *seed * 6364136223846793005UL + 1442695040888963407UL;
	return *seed >> 33;
}

/* pread at 200 places, also past the end: the offset of the first wrong answer, or -1. */
static long check_pread(int fd, const struct buffer *whole)
{
	unsigned long seed = 1;
	char piece[6000];
	int i;

	for (i = 0; i < 200; i++) {
		size_t at = next_random(&seed) % (whole->len + 1), size = 1 + next_random(&seed) % sizeof(piece);
		size_t left = whole->len - at;
		ssize_t n = pread(fd, piece, size, at);

		if (n < 0 || (size_t)n > left || (left && !n) || memcmp(piece, whole->data + at, n))
			return at;
	}
	return pread(fd, piece, sizeof(piece), whole->len + 5) ? (long)whole->len + 5 : -1;
}

/* The offset of the first difference, or -1. */
static long difference(const struct buffer *a, const struct buffer *b)
{
	size_t i, n = a->len < b->len ? a->len : b->len;

	for (i = 0; i < n; i++)
		if (a->data[i] != b->data[i])
			return i;
	return a->len == b->len ? -1 : (long)n;
}

/* sizes PATH SIZE...: one open file, rewound and read again in chunks of each size */
void step_sizes(const struct step *s)
{
	struct buffer first = { 0 }, again = { 0 };
	int fd = open(s->word[1], O_RDONLY | O_CLOEXEC), i;
	long at = -1;

	if (fd < 0 || slurp_fd(fd, word_long(s, 2), &first) < 0)
		die("cannot read %s: %s", s->word[1], strerror(errno));
	for (i = 3; i < s->words && at < 0; i++) {
		again.len = 0;
		if (lseek(fd, 0, SEEK_SET) || slurp_fd(fd, word_long(s, i), &again) < 0)
			at = 0;
		else
			at = difference(&first, &again);
		if (at >= 0) {
			out_long("bad_size", word_long(s, i));
			out_text("other", again.data ? again.data : "", again.len);
		}
	}
	out_long("differs_at", at);
	out_long("pread_differs_at", check_pread(fd, &first));
	out_text("text", first.data ? first.data : "", first.len);
	close(fd);
	buffer_free(&first);
	buffer_free(&again);
}

static void write_once(int fd, const char *data, size_t len, long repeat)
{
	struct buffer b = { 0 };
	ssize_t n;

	buffer_add(&b, "", 0);
	while (repeat-- > 0)
		buffer_add(&b, data, len);
	n = write(fd, b.data, b.len);
	out_long("ret", n);
	out_long("errno", n < 0 ? errno : 0);
	out_long("size", b.len);
	buffer_free(&b);
}

/* write PATH DATA [REPEAT]: open, one write(2), close; DATA null=1 passes a bad address */
void step_write(const struct step *s)
{
	int fd = open(s->word[1], O_WRONLY | O_CLOEXEC), error = fd < 0 ? errno : 0;

	out_long("open_errno", error);
	if (error) {
		out_long("ret", -1);
		out_long("errno", error);
		return;
	}
	if (option(s, "null")) {
		void *volatile nowhere = (void *)8;
		ssize_t n = write(fd, nowhere, 16);

		out_long("ret", n);
		out_long("errno", n < 0 ? errno : 0);
	} else {
		write_once(fd, s->word[2], s->len[2], s->words > 3 ? word_long(s, 3) : 1);
	}
	close(fd);
}

static int *slot_of(const struct step *s)
{
	long i = word_long(s, 1);

	if (i < 0 || i >= SLOTS)
		die("no slot %ld", i);
	return &slot[i];
}

/* open SLOT PATH r|w|rw */
void step_open(const struct step *s)
{
	bool both = !strcmp(s->word[3], "rw");
	int fd = open(s->word[2], (both ? O_RDWR : s->word[3][0] == 'w' ? O_WRONLY : O_RDONLY) | O_CLOEXEC);

	out_long("errno", fd < 0 ? errno : 0);
	*slot_of(s) = fd;
}

/* fread SLOT [CHUNK] [bytes=N]: to the end, or N bytes of it */
void step_fread(const struct step *s)
{
	long bytes = option_long(s, "bytes", 0);
	struct buffer b = { 0 };
	ssize_t n;

	if (bytes) {
		char *piece = malloc(bytes);

		n = read(*slot_of(s), piece, bytes);
		if (n > 0)
			buffer_add(&b, piece, n);
		free(piece);
	} else {
		n = slurp_fd(*slot_of(s), chunk_of(s, 2), &b);
	}
	out_long("errno", n < 0 ? errno : 0);
	out_text("text", b.data ? b.data : "", b.len);
	buffer_free(&b);
}

/* fwrite SLOT DATA */
void step_fwrite(const struct step *s)
{
	write_once(*slot_of(s), s->word[2], s->len[2], 1);
}

/* rewind SLOT */
void step_rewind(const struct step *s)
{
	out_long("errno", lseek(*slot_of(s), 0, SEEK_SET) ? errno : 0);
}

/* close SLOT */
void step_close(const struct step *s)
{
	out_long("errno", close(*slot_of(s)) ? errno : 0);
	*slot_of(s) = -1;
}

/* mode PATH */
void step_mode(const struct step *s)
{
	struct stat st;

	out_long("errno", stat(s->word[1], &st) ? errno : 0);
	out_long("mode", st.st_mode & 07777);
	out_long("uid", st.st_uid);
	out_long("gid", st.st_gid);
}
