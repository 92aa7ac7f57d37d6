// SPDX-License-Identifier: GPL-2.0
/*
 * Selections of any bytes, written to the lister: each is taken or refused as docs/abi.md says, which is written anew
 * here, and what is taken lets through the tasks that it names.
 */
#include "lister_kernel.h"

#include "lister.h"
#include "state.h"

static unsigned int refused;
static struct task_struct task;

void fuzz_refused(int length, const char *word, const char *reason)
{
	assert(length >= 0 && length <= 40 && strnlen(word, length) == (size_t)length);
	assert(*reason);
	refused++;
}

int match_string(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return i;
	return -EINVAL;
}

int kstrtou64(const char *text, unsigned int base, u64 *result)
{
	char *end;

	assert(base == 10);
	errno = 0;
	*result = strtoull(text, &end, 10);
	return end == text || *end || *text == '-' || errno ? -EINVAL : 0;
}

void *kmemdup(const void *from, size_t size, int flags)
{
	void *copy = fuzz_alloc(size, false);

	return copy ? memcpy(copy, from, size) : NULL;
}

/* In place of ended.c. */
static int ended_err;

const char *tl_ended_refused(const struct tl_cursor *cursor, int *err)
{
	*err = ended_err;
	return ended_err ? "a reason" : NULL;
}

/* In place of field.c and task.c. */
static const char *const columns[TL_FIELDS] = {
	"pid",	 "tid",	 "nspid", "ppid", "pgid",   "sid",   "id",     "comm", "state",	 "letter", "kthread", "threads",
	"uid",	 "euid", "gid",	  "egid", "vm",	    "rss",   "shared", "swap", "peak",	 "start",  "user",    "system",
	"minflt", "majflt", "vcsw", "icsw", "prio", "nice", "policy", "cpu", "tty", "cgroup", "exit", "end", "code",
};

int tl_field_of(const char *name)
{
	return match_string(columns, TL_FIELDS, name);
}

const char *tl_field_name(enum tl_field field)
{
	return columns[field];
}

struct pid *tl_parent(struct task_struct *of)
{
	return (struct pid *)&of->ppid;
}

enum tl_state tl_task_state(struct task_struct *of)
{
	return of->state;
}

void tl_escape(char *to, const char *comm)
{
	strcpy(to, comm);
}

/* -- the rules, anew ---------------------------------------------------------------------------------------------- */

struct rules {
	int err;
	bool any;
	bool seen[11];
	unsigned int columns[TL_FIELDS], count;
	u32 numbers[3][TL_RANGES][2];
	unsigned int ranges[3];
	unsigned int states;
	char comm[TL_COMMAND_SIZE];
	int comm_length;
	bool begins, kthreads, threads, since, ended;
	u64 pass, end;
	int format;
};

static bool digits(const char *at, size_t size, u64 most, u64 *number)
{
	*number = 0;
	for (size_t i = 0; i < size; i++) {
		if (at[i] < '0' || at[i] > '9' || *number > (most - (at[i] - '0')) / 10)
			return false;
		*number = *number * 10 + at[i] - '0';
	}
	return size;
}

static bool column(struct rules *r, const char *at, size_t size)
{
	for (unsigned int i = 0; i < TL_FIELDS; i++) {
		if (strlen(columns[i]) != size || memcmp(columns[i], at, size))
			continue;
		for (unsigned int j = 0; j < r->count; j++)
			if (r->columns[j] == i)
				return false;
		r->columns[r->count++] = i;
		return true;
	}
	return false;
}

static int range(struct rules *r, int which, const char *at, size_t size)
{
	const char *dash = memchr(at, '-', size);
	u64 first, last;

	if (r->ranges[which] == TL_RANGES)
		return -E2BIG;
	if (!digits(at, dash ? dash - at : size, U32_MAX, &first))
		return -EINVAL;
	last = first;
	if (dash && !digits(dash + 1, size - (dash + 1 - at), U32_MAX, &last))
		return -EINVAL;
	if (first > last)
		return -EINVAL;
	r->numbers[which][r->ranges[which]][0] = first;
	r->numbers[which][r->ranges[which]++][1] = last;
	return 0;
}

/* Each part between commas. */
static int parts(struct rules *r, int which, const char *at, size_t size)
{
	const char *end = at + size;
	int err = 0;

	for (;;) {
		const char *comma = memchr(at, ',', end - at);
		size_t length = (comma ?: end) - at;

		if (which < 0)
			err = column(r, at, length) ? 0 : -EINVAL;
		else
			err = range(r, which, at, length);
		if (err || !comma)
			return err;
		at = comma + 1;
	}
}

static int value(struct rules *r, int key, const char *at, size_t size)
{
	static const char letters[] = "RSDTtXZPI";
	static const char *const formats[] = { "table", "jsonl", "bin" };

	switch (key) {
	case 0:
		r->count = 0;
		return parts(r, -1, at, size);
	case 1:
	case 2:
	case 3:
		return parts(r, key - 1, at, size);
	case 4:
		r->states = 0;
		for (size_t i = 0; i < size; i++) {
			if (!memchr(letters, at[i], 9))
				return -EINVAL;
			r->states |= 1U << (strchr(letters, at[i]) - letters);
		}
		return size ? 0 : -EINVAL;
	case 5:
		r->begins = size && at[size - 1] == '*';
		size -= r->begins;
		if (!size || size >= TL_COMMAND_SIZE)
			return -EINVAL;
		memcpy(r->comm, at, size);
		r->comm_length = size;
		return 0;
	case 6:
	case 7:
		if (size != 1 || (*at != '0' && *at != '1'))
			return -EINVAL;
		*(key == 6 ? &r->kthreads : &r->threads) = *at == '1';
		return 0;
	case 8:
		r->since = true;
		return digits(at, size, U64_MAX, &r->pass) ? 0 : -EINVAL;
	case 9:
		r->ended = true;
		return digits(at, size, U64_MAX, &r->end) ? 0 : -EINVAL;
	default:
		for (int i = 0; i < 3; i++)
			if (strlen(formats[i]) == size && !memcmp(formats[i], at, size)) {
				r->format = i;
				return 0;
			}
		return -EINVAL;
	}
}

static int word(struct rules *r, const char *at, size_t size)
{
	static const char *const keys[] = { "columns", "pid",	  "ppid",    "uid",   "state",
					    "comm",    "kthreads", "threads", "since", "ended", "format" };
	const char *equals = memchr(at, '=', size);
	size_t length = equals ? equals - at : size;

	for (int i = 0; i < 11; i++) {
		if (strlen(keys[i]) != length || memcmp(keys[i], at, length))
			continue;
		if (!equals || r->seen[i])
			return -EINVAL;
		r->seen[i] = true;
		return value(r, i, equals + 1, size - length - 1);
	}
	return -EINVAL;
}

static bool has(const struct rules *r, unsigned int field)
{
	for (unsigned int i = 0; i < r->count; i++)
		if (r->columns[i] == field)
			return true;
	return false;
}

static struct rules apply(const char *text, size_t size)
{
	static const unsigned int usual[] = { TL_PID, TL_PPID, TL_COMM, TL_STATE, TL_VM, TL_RSS, TL_THREADS, TL_UID, TL_GID };
	struct rules r = { .kthreads = true, .states = (1U << (TL_UNKNOWN + 1)) - 1, .count = 9 };

	memcpy(r.columns, usual, sizeof(usual));
	if (size > 1024)
		r.err = -E2BIG;
	else if (memchr(text, 0, size))
		r.err = -EINVAL;
	for (size_t at = 0; !r.err && at < size;) {
		size_t length = 0;

		while (at + length < size && !strchr(" \t\n", text[at + length]))
			length++;
		if (length) {
			r.any = true;
			r.err = word(&r, text + at, length);
		}
		at += length + 1;
	}
	if (!r.err && r.since && !(has(&r, TL_ID) && has(&r, TL_STATE)))
		r.err = -EINVAL;
	if (!r.err && r.ended)
		r.err = r.since || r.threads ? -EINVAL : ended_err;
	return r;
}

static bool among(const struct rules *r, int which, u32 number)
{
	bool found = !r->ranges[which];

	for (unsigned int i = 0; i < r->ranges[which]; i++)
		found |= number >= r->numbers[which][i][0] && number <= r->numbers[which][i][1];
	return found;
}

static bool lets_through(const struct rules *r)
{
	size_t length = strlen(task.comm);

	if (r->comm_length && (length < r->comm_length || memcmp(task.comm, r->comm, r->comm_length) ||
			       (!r->begins && length != r->comm_length)))
		return false;
	return (r->kthreads || !(task.flags & PF_KTHREAD)) && (r->states >> task.state & 1) &&
	       among(r, 0, task.pid) && among(r, 1, task.ppid) && among(r, 2, task.cred.uid.val);
}

/* -- what was made of it ------------------------------------------------------------------------------------------ */

static void check_columns(const struct tl_selection *s, const struct rules *r)
{
	u64 wanted = 0;

	assert(s->columns == r->count);
	for (unsigned int i = 0; i < s->columns; i++) {
		char key[32];

		assert(s->column[i] == r->columns[i]);
		wanted |= BIT_ULL(s->column[i]);
		snprintf(key, sizeof(key), "%c\"%s\":", i ? ',' : '{', columns[s->column[i]]);
		assert(s->key[i].size == strlen(key) && !memcmp(s->key[i].text, key, strlen(key)));
	}
	assert(s->wanted == wanted);
}

/* No number that is asked for is passed over, and none is gone to that is not. */
static void check_jumps(const struct tl_selection *s, const struct rules *r)
{
	pid_t pid = 1, before;
	int steps = 0;

	for (; before = pid, tl_may_be_selected(s, &pid) && steps < 40; steps++, pid++) {
		assert(pid >= before && (s->threads || among(r, 0, pid)));
		for (pid_t passed = before; passed < pid && passed < before + 100; passed++)
			assert(!among(r, 0, passed));
		if (!s->threads)
			assert(pid == before || !among(r, 0, pid - 1));
	}
}

/* The task, once it has ended. */
static void check_ended(const struct tl_selection *s, const struct rules *r)
{
	struct tl_values v = { .number[TL_KTHREAD] = !!(task.flags & PF_KTHREAD) };

	v.number[TL_PID] = task.pid;
	v.number[TL_PPID] = task.ppid;
	v.number[TL_UID] = task.cred.uid.val;
	memcpy(v.comm, task.comm, sizeof(v.comm));
	task.state = TL_DEAD;
	assert(tl_is_ended_selected(s, &v) == lets_through(r));
}

static void check_tasks(struct tl_selection *s, const struct rules *r, const u8 *data, size_t size)
{
	static const u32 numbers[] = { 0, 1, 2, 7, 10, 99, 1000, 65535, 4194303, U32_MAX };
	struct tl_cursor cursor = { .selection = s };

	for (unsigned int i = 0; i < 40; i++) {
		unsigned int by = size ? data[i % size] + i : i;

		task = (struct task_struct) {
			.flags = by & 1 ? PF_KTHREAD : 0,
			.pid = numbers[by % 10],
			.ppid = numbers[by / 3 % 10],
			.cred.uid.val = numbers[by / 7 % 10],
			.state = by % (TL_UNKNOWN + 1),
		};
		memcpy(task.comm, r->comm, min(r->comm_length + by % 3, TASK_COMM_LEN - 1));
		if (by % 3 == 2 && r->comm_length < TASK_COMM_LEN - 2)
			task.comm[r->comm_length] = 'x';
		assert(tl_is_selected(&cursor, &task) == lets_through(r));
		check_ended(s, r);
	}
}

const char *__asan_default_options(void)
{
	return "malloc_context_size=3:quarantine_size_mb=8";
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const int errs[] = { 0, 0, -EPERM, -EOPNOTSUPP };
	const struct tl_cursor cursor = {};
	struct tl_selection *s;
	struct rules r;

	ended_err = errs[size ? data[size - 1] % 4 : 0];
	r = apply((const char *)data, size);
	refused = 0;
	s = tl_selection_of(&cursor, (const char *)data, size);
	if (r.err) {
		assert(IS_ERR(s) && PTR_ERR(s) == r.err && refused == 1);
	} else {
		assert(!IS_ERR(s) && !refused && !!s == r.any);
	}
	if (s && !IS_ERR(s)) {
		assert(s->format == r.format && s->threads == r.threads && s->kthreads == r.kthreads);
		assert(s->is_since == r.since && (!r.since || s->since == r.pass));
		assert(s->is_ended == r.ended && (!r.ended || s->ended == r.end));
		check_columns(s, &r);
		check_jumps(s, &r);
		check_tasks(s, &r, data, size);
		fuzz_free(s);
	}
	assert(!fuzz.allocated);
	return 0;
}
