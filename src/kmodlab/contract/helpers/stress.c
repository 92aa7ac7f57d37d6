// SPDX-License-Identifier: GPL-2.0
/* Readers, writers and short-lived processes, all at once. Every picture that is read is checked. */
#include "helper.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MIN_ROUNDS 3

struct worker {
	const char *what;
	void (*round)(struct worker *w);
	const char *path;
	size_t chunk;
	bool (*check)(struct worker *w, char *text);
	long rounds;
	char error[400];
};

static bool wrong(struct worker *w, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(w->error, sizeof(w->error), format, args);
	va_end(args);
	return false;
}

static char *next_line(char **at)
{
	char *line = *at, *end = line ? strchr(line, '\n') : NULL;

	if (!end)
		return NULL;
	*end = '\0';
	*at = end + 1;
	return line;
}

static bool check_row(struct worker *w, const char *line, unsigned long *before)
{
	char name[64], status[16], comm[80];
	unsigned long stamp, uid;
	long pid, tid, cpu;

	if (sscanf(line, "%63s %ld %lu %15s %ld %lu %ld %79s", name, &pid, &stamp, status, &tid, &uid, &cpu,
		   comm) != 8)
		return wrong(w, "torn row: %s", line);
	if (strcmp(status, "ALLOWED") && strcmp(status, "BLOCKED"))
		return wrong(w, "bad status: %s", line);
	if (stamp < *before)
		return wrong(w, "the time stamp goes back from %lu: %s", *before, line);
	*before = stamp;
	return true;
}

/* One transaction adds or removes both filters, so a picture has both or none. */
static bool check_filters(struct worker *w, const char *text)
{
	bool one = strstr(text, "\n=unlink: BLOCK\n"), other = strstr(text, "\n=unlinkat: BLOCK\n");

	if (!strstr(text, "\nActive Filters:\n"))
		return wrong(w, "the page has no filter section");
	if (one != other)
		return wrong(w, "half a transaction is seen: %s", strstr(text, "\nActive Filters:\n") + 1);
	return true;
}

static bool check_log(struct worker *w, char *text)
{
	unsigned long before = 0;
	long rows = 0, total = -1;
	char *line;

	if (!check_filters(w, text))
		return false;
	while ((line = next_line(&text)) && line[0] != '-')
		;
	while ((line = next_line(&text)) && line[0]) {
		if (!check_row(w, line, &before))
			return false;
		rows++;
	}
	line = next_line(&text);
	if (!line || sscanf(line, "Total entries: %ld", &total) != 1 || total != rows)
		return wrong(w, "%ld rows, but: %s", rows, line ? line : "nothing");
	return true;
}

/* Ascending numbers; init, the script's process and the reader itself live all the while. */
static bool check_numbers(struct worker *w, long pid, long *before, int *known)
{
	if (pid <= *before)
		return wrong(w, "PID %ld comes after %ld", pid, *before);
	*before = pid;
	*known += pid == 1 || pid == getpid() || pid == getppid();
	return true;
}

/*
 * What stands around a table, and how it is ruled, is no matter of this: a row is a line
 * that begins with a number. Returns 0 at the end, -1 where one number is all there is.
 */
static int next_row(char **at, bool begun, long *pid)
{
	char *line, *end;

	while ((line = next_line(at))) {
		line += strspn(line, " |\t");
		*pid = strtol(line, &end, 10);
		if (end > line)
			return end[strspn(end, " |\t")] ? 1 : -1;
		if (begun && isalpha(*line))
			return 0;
	}
	return 0;
}

/* The number behind the last word `total`, for that is below the table; -1 without one. */
static long total_of(const char *text)
{
	const char *at = NULL;

	while ((text = strcasestr(text, "total")))
		at = text++;
	at = at ? strpbrk(at, "0123456789\n") : NULL;
	return at && *at != '\n' ? strtol(at, NULL, 10) : -1;
}

static bool check_list(struct worker *w, char *text)
{
	long before = 0, rows = 0, pid, total = total_of(text);
	int known = 0, found;

	while ((found = next_row(&text, rows > 0, &pid))) {
		if (found < 0)
			return wrong(w, "torn row: %ld", pid);
		if (!check_numbers(w, pid, &before, &known))
			return false;
		rows++;
	}
	if (total >= 0 && total != rows)
		return wrong(w, "%ld rows, but a total of %ld", rows, total);
	return known == 3 || wrong(w, "of 3 processes that live on only %d are listed", known);
}

static bool check_detail(struct worker *w, char *text)
{
	long before = 0, pid;
	int known = 0;
	char *line;

	while ((line = next_line(&text))) {
		line += strspn(line, " |\t");
		if (strncasecmp(line, "pid", 3) || isalpha(line[3]))
			continue;
		pid = strtol(line + 3 + strcspn(line + 3, "0123456789"), NULL, 10);
		if (!check_numbers(w, pid, &before, &known))
			return false;
	}
	return known == 3 || wrong(w, "of 3 processes that live on only %d are there", known);
}

static bool check_tree(struct worker *w, char *text)
{
	long rows = 0, total = total_of(text);
	int known = 0;
	char *line;

	while ((line = next_line(&text))) {
		char *at = strrchr(line, '(');
		long pid = at ? strtol(at + 1, NULL, 10) : 0;

		if (pid <= 0)
			continue;
		known += pid == 1 || pid == getpid() || pid == getppid();
		rows++;
	}
	if (total >= 0 && total != rows)
		return wrong(w, "%ld rows, but a total of %ld", rows, total);
	return known == 3 || wrong(w, "of 3 processes that live on %d are in the tree", known);
}

/* Of a page that does not have them all, or in other words, nothing is said here. */
static bool check_stats(struct worker *w, char *text)
{
	static const char *const keys[] = { "running", "sleeping", "stopped", "zombie", "other", "total" };
	long value[ARRAY_SIZE(keys)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		char *at = strcasestr(text, keys[i]);

		at = at ? strpbrk(at, "0123456789\n") : NULL;
		if (!at || *at == '\n')
			return true;
		value[i] = strtol(at, NULL, 10);
	}
	if (value[0] + value[1] + value[2] + value[3] + value[4] != value[5])
		return wrong(w, "the states do not add up to the total %ld", value[5]);
	return true;
}

static void read_round(struct worker *w)
{
	struct buffer b = { 0 };
	int error = slurp(w->path, w->chunk, &b);

	if (error || !b.data)
		wrong(w, "reading: %s", strerror(error));
	else
		w->check(w, b.data);
	buffer_free(&b);
}

static void write_text(struct worker *w, const char *text)
{
	int fd = open(w->path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (n != (ssize_t)strlen(text))
		wrong(w, "writing: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void pair_round(struct worker *w)
{
	write_text(w, "=unlink block\n=unlinkat block\n");
	write_text(w, "=unlink delete\n=unlinkat delete\n");
}

static void single_round(struct worker *w)
{
	write_text(w, "close block\n");
	write_text(w, "close delete\n");
}

static void churn_round(struct worker *w)
{
	pid_t pid = fork();

	(void)w;
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	syscall(__NR_close, -1);
	syscall(__NR_unlinkat, -1, "nothing", 0);
}

#define TRACER "/proc/syscall_tracer"
static const struct worker tracer_workers[] = {
	{ .what = "log reader, 61 bytes", .round = read_round, .path = TRACER, .chunk = 61, .check = check_log },
	{ .what = "log reader, 4096 bytes", .round = read_round, .path = TRACER, .chunk = 4096, .check = check_log },
	{ .what = "log reader, 1 MiB", .round = read_round, .path = TRACER, .chunk = 1 << 20, .check = check_log },
	{ .what = "writer of pairs", .round = pair_round, .path = TRACER },
	{ .what = "writer of one", .round = single_round, .path = TRACER },
	{ .what = "churn", .round = churn_round },
	{ .what = "churn too", .round = churn_round },
};

static const struct worker task_workers[] = {
	{ .what = "list reader, 61 bytes", .round = read_round, .path = "/proc/task_lister", .chunk = 61, .check = check_list },
	{ .what = "list reader, 4096 bytes", .round = read_round, .path = "/proc/task_lister", .chunk = 4096, .check = check_list },
	{ .what = "detail reader", .round = read_round, .path = "/proc/task_detail", .chunk = 4096, .check = check_detail },
	{ .what = "tree reader", .round = read_round, .path = "/proc/task_tree", .chunk = 4096, .check = check_tree },
	{ .what = "stats reader", .round = read_round, .path = "/proc/task_stats", .chunk = 4096, .check = check_stats },
	{ .what = "churn", .round = churn_round },
	{ .what = "churn too", .round = churn_round },
};

static _Noreturn void work(struct worker *w, long until)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!w->error[0] && (w->rounds < MIN_ROUNDS || now_ms() < until)) {
		w->round(w);
		w->rounds++;
	}
	_exit(0);
}

static void report(const struct worker *w)
{
	out_raw(out.data[out.len - 1] == '[' ? "{" : ",{");
	out_string("what", w->what);
	out_long("rounds", w->rounds);
	out_string("error", w->error);
	out_raw("}");
}

/* stress tracer|tasks MS */
void step_stress(const struct step *s)
{
	bool tracer = !strcmp(s->word[1], "tracer");
	size_t n = tracer ? ARRAY_SIZE(tracer_workers) : ARRAY_SIZE(task_workers), i;
	struct worker *w = mmap(NULL, sizeof(*w) * n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long until = now_ms() + word_long(s, 2);
	pid_t pid[16];

	memcpy(w, tracer ? tracer_workers : task_workers, sizeof(*w) * n);
	for (i = 0; i < n; i++) {
		pid[i] = fork();
		if (!pid[i])
			work(&w[i], until);
	}
	for (i = 0; i < n; i++)
		waitpid(pid[i], NULL, 0);
	out_key("workers");
	out_raw("[");
	for (i = 0; i < n; i++)
		report(&w[i]);
	out_raw("]");
	munmap(w, sizeof(*w) * n);
}

/* flood COUNT PROCESSES: so many processes, on all CPUs, make COUNT calls each, of a kind that nobody else makes */
void step_flood(const struct step *s)
{
	long count = word_long(s, 1), processes = word_long(s, 2), cpus = sysconf(_SC_NPROCESSORS_ONLN), i;
	int status;

	for (i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid) {
			long left = count;

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pin_to_cpu(i % cpus);
			while (left-- > 0)
				syscall(__NR_timer_getoverrun, 0);
			_exit(0);
		}
	}
	for (i = 0; i < processes; i++)
		if (wait(&status) < 0 || status)
			die("flood: a process did not end well");
	out_long("made", count * processes);
}
