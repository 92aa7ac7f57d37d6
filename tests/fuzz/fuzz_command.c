// SPDX-License-Identifier: GPL-2.0
/*
 * Writes of any bytes to /proc/syscall_tracer, and what must hold after each.
 *
 * An input is a row of writes. A byte above 0xF7 begins another one, and says how: see begin().
 */
#include "fuzz.h"

#define IS_BEGIN(byte) ((byte) > 0xf7)

/* What a transaction may change. */
struct picture {
	struct sct_filters filters;
	DECLARE_BITMAP(traced, SCT_CALLS_MAX);
};

static void take(struct picture *picture)
{
	const struct sct_filters *filters = sct_filters_active;

	/* What lies behind the last filter is nobody's business. */
	picture->filters.count = filters->count;
	memcpy(picture->filters.first, filters->first, sizeof(filters->first));
	memcpy(picture->filters.filter, filters->filter, filters->count * sizeof(filters->filter[0]));
	mutex_lock(&sct_lock);
	sct_traced(picture->traced);
	mutex_unlock(&sct_lock);
}

static bool same(const struct picture *a, const struct picture *b)
{
	return a->filters.count == b->filters.count && !memcmp(a->traced, b->traced, sizeof(a->traced)) &&
	       !memcmp(a->filters.first, b->filters.first, sizeof(a->filters.first)) &&
	       !memcmp(a->filters.filter, b->filters.filter, a->filters.count * sizeof(a->filters.filter[0]));
}

static void check_filter(const struct sct_filter *filter)
{
	size_t name = strnlen(filter->name, sizeof(filter->name)), comm = strnlen(filter->comm, sizeof(filter->comm));

	assert(name && name <= SCT_WORD_MAX);
	assert(filter->status == SCT_ALLOWED || filter->status == SCT_BLOCKED);
	assert(filter->error <= SCT_ERRNO_MAX && (filter->status == SCT_BLOCKED || !filter->error));
	assert(comm < SCT_COMM_LEN && !comm == !(filter->fields & SCT_IF_COMM));
	for (; comm < SCT_COMM_LEN; comm++)
		assert(!filter->comm[comm]);
	assert(filter->path_len <= SCT_PATH_MAX && filter->path_len < sct_data_bytes);
	assert(strnlen(filter->path, sizeof(filter->path)) == filter->path_len);
	assert(!filter->path_len == !(filter->fields & SCT_IF_PATH));
	assert(fuzz_next_bit(filter->calls, SCT_CALLS_MAX, 0) < SCT_CALLS_MAX);
}

static void check_filters(const struct sct_filters *filters)
{
	u8 first[SCT_CALLS_MAX];

	assert(filters->users.count == 1);
	assert(filters->count <= SCT_FILTERS_MAX);
	memset(first, SCT_FILTERS_MAX, sizeof(first));
	for (unsigned int i = 0; i < filters->count; i++) {
		const unsigned long *calls = filters->filter[i].calls;
		unsigned int id;

		check_filter(&filters->filter[i]);
		for_each_set_bit(id, calls, SCT_CALLS_MAX)
			if (first[id] == SCT_FILTERS_MAX)
				first[id] = i;
	}
	assert(!memcmp(first, filters->first, sizeof(first)));
}

/* One line, `syscall_tracer: refused "...": REASON`, that no terminal minds. */
static void check_warning(void)
{
	size_t size = strlen(fuzz.warning);
	const char *reason = fuzz.warning + size;

	while (reason > fuzz.warning && strncmp(reason, "\": ", 3))
		reason--;
	assert(!strncmp(fuzz.warning, "syscall_tracer: refused \"", 25) && reason >= fuzz.warning + 25);
	assert(islower(reason[3]) && fuzz.warning[size - 1] == '\n');
	for (size_t i = 0; i < size - 1; i++)
		assert(fuzz.warning[i] == '\t' || (fuzz.warning[i] >= ' ' && fuzz.warning[i] <= '~'));
}

/* One write; returns what it returned. */
static ssize_t write_text(const char *text, size_t size)
{
	static struct picture before, after;
	bool failing = fuzz.fail_in;
	ssize_t written;
	int expected;

	take(&before);
	fuzz.warnings = 0;
	written = sct_command_write(text, size);
	failing = failing && !fuzz.fail_in;
	fuzz.fail_in = 0;
	take(&after);
	assert(!sct_lock.held && calls_settled());
	assert(fuzz.allocated == 1);
	assert(written == (ssize_t)size || same(&before, &after));
	if (failing || !text) {
		assert(written == (failing ? -ENOMEM : -EFAULT));
		return written;
	}
	assert(fuzz.warnings == (written < 0));
	if (written < 0)
		check_warning();
	expected = model_write(text, size);
	assert(written == expected);
	if (written < 0)
		return written;
	check_filters(sct_filters_active);
	model_compare(sct_filters_active, after.traced);
	return written;
}

/* Turns a line that is shown into the command that adds it: `NAME: BLOCK ...` into `NAME block ...`. */
static char *as_command(char *line)
{
	char *colon = strchr(line, ':');

	assert(colon && strchr(line, '\n') == line + strlen(line) - 1);
	memmove(colon, colon + 1, strlen(colon));
	for (char *p = colon + 1; *p >= 'A' && *p <= 'Z'; p++)
		*p += 'a' - 'A';
	return line;
}

/* All filters, added again from what is shown of them, are what they were. */
static void check_round_trip(void)
{
	static struct picture before, after;
	static struct seq_file shown;
	unsigned int count = sct_filters_active->count;

	if (!count)
		return;
	fuzz.incapable = false;
	take(&before);
	shown.size = 0;
	seq_puts(&shown, "clear\n");
	for (unsigned int i = 0; i < count; i++) {
		size_t line = shown.size;

		sct_text_filter(&shown, &before.filters.filter[i]);
		shown.size = line + strlen(as_command(shown.text + line));
		/* A write has room for one more of the longest there are. */
		if (shown.size > 2500 || i + 1 == count) {
			assert(write_text(shown.text, shown.size) == (ssize_t)shown.size);
			shown.size = 0;
		}
	}
	take(&after);
	/* What was untraced since is traced again. */
	memcpy(before.traced, after.traced, sizeof(before.traced));
	assert(same(&before, &after));
}

/*
 * 0xF8: the allocation of the number that the next byte says fails; 0xF9: more data_bytes; 0xFA: by someone without
 * the capability; 0xFB: from a bad address.
 */
static const u8 *begin(const u8 *at, const u8 *end, bool *addressed)
{
	u8 how = *at++, more = 0;

	*addressed = how != 0xfb;
	fuzz.incapable = how == 0xfa;
	if ((how == 0xf8 || how == 0xf9) && at < end)
		more = *at++;
	fuzz.fail_in = how == 0xf8 ? more % 8 : 0;
	/* Shorter than before, and there may be filters that could not be added any more. */
	if (how == 0xf9)
		sct_data_bytes = max(sct_data_bytes, 8 * (more % 64));
	return at;
}

/* A little of the sanitizer's thoroughness for four times as many inputs. */
const char *__asan_default_options(void)
{
	return "malloc_context_size=3:quarantine_size_mb=8";
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	const u8 *at = data, *end = data + size;
	bool addressed = true;

	fuzz = (struct fuzz_state){ 0 };
	sct_data_bytes = 128;
	calls_reset();
	model_reset();
	assert(!sct_filters_init());
	while (at < end) {
		const u8 *start;

		if (IS_BEGIN(*at))
			at = begin(at, end, &addressed);
		for (start = at; at < end && !IS_BEGIN(*at); at++)
			;
		write_text(addressed ? (const char *)start : NULL, at - start);
	}
	check_round_trip();
	mutex_lock(&sct_lock);
	sct_filters_exit();
	mutex_unlock(&sct_lock);
	model_reset();
	assert(!fuzz.allocated);
	return 0;
}
