// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands: what is written to /proc/syscall_tracer, as a transaction.
 */
#include <linux/bitmap.h>
#include <linux/capability.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "tracer.h"

#define WRITE_MAX	4096	/* bytes in one write */
#define QUOTE_MAX	80	/* bytes of a refused line in the kernel's log */

/**
 * struct stage - what a transaction has come to
 * @filters: the filters as they would be
 * @traced: the traced calls as they would be
 * @reason: why it is refused
 */
struct stage {
	struct sct_filters *filters;
	DECLARE_BITMAP(traced, SCT_CALLS_MAX);
	const char *reason;
};

static int refuse(struct stage *stage, int err, const char *reason)
{
	stage->reason = reason;
	return err;
}

static bool is_text(char c)
{
	return c == '\t' || (c >= ' ' && c <= '~');
}

/* Copies the start of a line, with all that is no text in octal. */
static void quote(char *out, const char *line, const char *end)
{
	end = min(end, line + QUOTE_MAX);
	for (; line < end && *line != '\n'; line++) {
		if (is_text(*line))
			*out++ = *line;
		else
			out += sprintf(out, "\\%03o", (unsigned char)*line);
	}
	*out = '\0';
}

static void report_refused(const char *line, const char *end,
			   const char *reason)
{
	static DEFINE_RATELIMIT_STATE(limit, 5 * HZ, 50);
	char quoted[4 * QUOTE_MAX + 1];

	if (!___ratelimit(&limit, KBUILD_MODNAME))
		return;
	quote(quoted, line, end);
	pr_warn(KBUILD_MODNAME ": refused \"%s\": %s\n", quoted, reason);
}

/* Returns the length of the word, 0 at the end of the line, or an error. */
static int next_word(struct stage *stage, const char **line, char *word)
{
	const char *start = *line + strspn(*line, " \t");
	size_t len = strcspn(start, " \t");

	if (len > SCT_WORD_MAX)
		return refuse(stage, -E2BIG, "a word is too long");
	memcpy(word, start, len);
	word[len] = '\0';
	*line = start + len;
	return len;
}

static int end_of_line(struct stage *stage, const char **line)
{
	char word[SCT_WORD_MAX + 1];
	int len = next_word(stage, line, word);

	return len > 0 ? refuse(stage, -EINVAL, "too many words") : len;
}

static int resolve(struct stage *stage, const char *name, unsigned long *calls)
{
	int err = sct_family_resolve(name, calls);

	if (err == -ENOENT)
		return refuse(stage, err, "no such system call");
	if (err)
		return refuse(stage, err, "it cannot be traced");
	return 0;
}

static int run_clear(struct stage *stage, const char *line)
{
	int err = end_of_line(stage, &line);

	if (!err)
		sct_filters_clear(stage->filters);
	return err;
}

/* trace NAME..., untrace NAME... */
static int run_trace(struct stage *stage, const char *line, bool on)
{
	DECLARE_BITMAP(calls, SCT_CALLS_MAX);
	char name[SCT_WORD_MAX + 1];
	int err, names = 0;

	bitmap_zero(calls, SCT_CALLS_MAX);
	while ((err = next_word(stage, &line, name)) > 0) {
		err = resolve(stage, name, calls);
		if (err)
			return err;
		names++;
	}
	if (err)
		return err;
	if (!names)
		return refuse(stage, -EINVAL, "a name is missing");
	if (on)
		bitmap_or(stage->traced, stage->traced, calls, SCT_CALLS_MAX);
	else
		bitmap_andnot(stage->traced, stage->traced, calls,
			      SCT_CALLS_MAX);
	return 0;
}

static int run_delete(struct stage *stage, const char *name)
{
	int err = sct_filters_delete(stage->filters, name);

	return err ? refuse(stage, err, "no such filter") : 0;
}

static int run_filter(struct stage *stage, const char *name,
		      enum sct_status status)
{
	DECLARE_BITMAP(calls, SCT_CALLS_MAX);
	int err;

	bitmap_zero(calls, SCT_CALLS_MAX);
	err = resolve(stage, name, calls);
	if (err)
		return err;
	err = sct_filters_add(stage->filters, name, status, calls);
	if (err)
		return refuse(stage, err, "too many filters");
	bitmap_or(stage->traced, stage->traced, calls, SCT_CALLS_MAX);
	return 0;
}

/* NAME block, NAME allow, NAME delete */
static int run_named(struct stage *stage, const char *name, const char *line)
{
	char verb[SCT_WORD_MAX + 1];
	int err = next_word(stage, &line, verb);

	if (err < 0)
		return err;
	if (!err)
		return refuse(stage, -EINVAL, "a word is missing");
	err = end_of_line(stage, &line);
	if (err)
		return err;
	if (!strcmp(verb, "block"))
		return run_filter(stage, name, SCT_BLOCKED);
	if (!strcmp(verb, "allow"))
		return run_filter(stage, name, SCT_ALLOWED);
	if (!strcmp(verb, "delete"))
		return run_delete(stage, name);
	return refuse(stage, -EINVAL, "not a command");
}

static int run_line(struct stage *stage, const char *line)
{
	char word[SCT_WORD_MAX + 1];
	int err;

	if (*line == '#')
		return 0;
	err = next_word(stage, &line, word);
	if (err <= 0)
		return err;
	if (!strcmp(word, "clear"))
		return run_clear(stage, line);
	if (!strcmp(word, "trace"))
		return run_trace(stage, line, true);
	if (!strcmp(word, "untrace"))
		return run_trace(stage, line, false);
	return run_named(stage, word, line);
}

/* Leaves @text at the line that is refused. */
static int run_lines(struct stage *stage, char **text)
{
	char *line, *rest = *text;
	int err;

	while ((line = strsep(&rest, "\n"))) {
		*text = line;
		err = run_line(stage, line);
		if (!err)
			continue;
		if (rest)
			rest[-1] = '\n';	/* it ends the quotation */
		return err;
	}
	err = sct_calls_arm(stage->traced);
	return err ? refuse(stage, err, "it cannot be traced") : 0;
}

static int run_transaction(struct stage *stage, char **text)
{
	int err;

	mutex_lock(&sct_lock);
	stage->filters = sct_filters_clone();
	if (!stage->filters) {
		mutex_unlock(&sct_lock);
		return refuse(stage, -ENOMEM, "out of memory");
	}
	sct_calls_traced(stage->traced);
	err = run_lines(stage, text);
	if (err) {
		sct_calls_rollback();
		sct_filters_put(stage->filters);
	} else {
		sct_filters_publish(stage->filters);
		sct_calls_commit(stage->traced);
	}
	mutex_unlock(&sct_lock);
	return err;
}

/* Leaves @text at the line that is refused. */
static int check_bytes(struct stage *stage, char **text, size_t count)
{
	char *end = *text + count;
	char *p;

	for (p = *text; p < end; p++) {
		if (*p == '\n')
			*text = p + 1;
		else if (!is_text(*p))
			return refuse(stage, -EINVAL, "a byte that is no text");
	}
	return 0;
}

static int run_text(struct stage *stage, char **text, size_t count)
{
	char *line = *text;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return refuse(stage, -EPERM, "it takes CAP_SYS_ADMIN");
	if (count > WRITE_MAX)
		return refuse(stage, -E2BIG, "more than 4096 bytes");
	err = check_bytes(stage, &line, count);
	if (err) {
		*text = line;
		return err;
	}
	return run_transaction(stage, text);
}

/**
 * sct_command_write() - run the commands of one write
 * @buf: one command a line
 * @count: bytes in @buf
 *
 * All of them take effect, or none.
 *
 * Context: Process context, may sleep.
 * Return: @count, or the error that docs/abi.md names.
 */
ssize_t sct_command_write(const char __user *buf, size_t count)
{
	size_t length = min_t(size_t, count, WRITE_MAX);
	struct stage *stage;
	char *copy, *line;
	int err;

	copy = memdup_user_nul(buf, length);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	stage = kzalloc(sizeof(*stage), GFP_KERNEL);
	if (!stage) {
		kfree(copy);
		return -ENOMEM;
	}
	line = copy;
	err = run_text(stage, &line, count);
	if (err)
		report_refused(line, copy + length, stage->reason);
	kfree(stage);
	kfree(copy);
	return err ?: count;
}
