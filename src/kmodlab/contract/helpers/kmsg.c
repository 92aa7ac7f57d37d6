// SPDX-License-Identifier: GPL-2.0
/* The kernel log, by sequence number: what was said after a given record. */
#include "helper.h"

#include <fcntl.h>
#include <limits.h>

struct record {
	long seq;
	char *text;
	size_t len;
};

/* One record of /dev/kmsg: "level,seq,microseconds,flags;text\n key=value..." */
static bool next_record(int fd, char *room, size_t size, struct record *r)
{
	ssize_t n;
	char *end;

	do
		n = read(fd, room, size - 1);
	while (n < 0 && errno == EPIPE);
	if (n <= 0)
		return false;
	room[n] = '\0';
	r->seq = strtol(strchr(room, ',') + 1, NULL, 10);
	r->text = strchr(room, ';') + 1;
	end = strchr(r->text, '\n');
	r->len = end ? (size_t)(end - r->text) : strlen(r->text);
	r->text[r->len] = '\0';
	return true;
}

static int open_kmsg(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		die("cannot read /dev/kmsg: %s", strerror(errno));
	return fd;
}

/* kmsg SEQ: the records after SEQ, the number of the last one and of the oldest that is still kept */
void step_kmsg(const struct step *s)
{
	long after = word_long(s, 1), last = -1, first = LONG_MAX;
	static char room[16384];
	int fd = open_kmsg();
	bool comma = false;
	struct record r;

	out_key("records");
	out_raw("[");
	while (next_record(fd, room, sizeof(room), &r)) {
		last = r.seq;
		first = r.seq < first ? r.seq : first;
		if (r.seq <= after)
			continue;
		if (comma)
			out_raw(",");
		out_text(NULL, r.text, r.len);
		comma = true;
	}
	out_raw("]");
	out_long("last", last);
	out_long("first", first);
	close(fd);
}

static void with_pid(const char *pattern, char *to, size_t size)
{
	const char *at = strstr(pattern, "{pid}");

	if (at)
		snprintf(to, size, "%.*s%d%s", (int)(at - pattern), pattern, last_pid, at + 5);
	else
		snprintf(to, size, "%s", pattern);
}

static bool said(int fd, const char *wanted, struct record *r)
{
	static char room[16384];

	while (next_record(fd, room, sizeof(room), r))
		if (strstr(r->text, wanted))
			return true;
	return false;
}

/* Runs the script and returns its answers. */
static struct buffer answers_of(const char *script)
{
	struct buffer kept = out, answers;

	memset(&out, 0, sizeof(out));
	run_script(script);
	answers = out;
	out = kept;
	return answers;
}

/*
 * until DEADLINE-MS TEXT SCRIPT: runs the script again and again until the kernel says TEXT, for lines
 * that are rate-limited. {pid} in TEXT is the process that made the last call.
 */
void step_until(const struct step *s)
{
	long deadline = now_ms() + word_long(s, 1), tries = 0;
	struct buffer inner = { 0 };
	struct record r = { 0 };
	int fd = open_kmsg();
	char wanted[256];
	bool found;

	lseek(fd, 0, SEEK_END);
	for (;;) {
		buffer_free(&inner);
		inner = answers_of(s->word[3]);
		tries++;
		with_pid(s->word[2], wanted, sizeof(wanted));
		found = said(fd, wanted, &r);
		if (found || now_ms() > deadline)
			break;
		nap_ms(200);
	}
	out_key("inner");
	out_raw(inner.data);
	out_long("tries", tries);
	out_long("found", found);
	out_text("line", found ? r.text : "", found ? r.len : 0);
	buffer_free(&inner);
	close(fd);
}
