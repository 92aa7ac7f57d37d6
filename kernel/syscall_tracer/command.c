// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands: what is written to /proc/syscall_tracer, as a transaction.
 */
#include <linux/bitmap.h>
#include <linux/capability.h>
#include <linux/ctype.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "tracer.h"

#define WRITE_MAX	4096	/* bytes in one write */
#define QUOTE_MAX	80	/* bytes of a refused line in the kernel's log */

/* Bytes in a word that holds a text, each of which may be escaped. */
#define OPTION_MAX	(5 + 4 * SCT_PATH_MAX)

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

/*
 * Returns the length of the word, 0 at the end of the line, or an error. The
 * word is written to @word, which has room for @max characters and the end.
 */
static int next_long_word(struct sct_stage *stage, const char **line,
			  char *word, size_t max)
{
	const char *start = *line + strspn(*line, " \t");
	size_t len = strcspn(start, " \t");

	if (len > max)
		return sct_refuse(stage, -E2BIG, "a word is too long");
	memcpy(word, start, len);
	word[len] = '\0';
	*line = start + len;
	return len;
}

static int next_word(struct sct_stage *stage, const char **line, char *word)
{
	return next_long_word(stage, line, word, SCT_WORD_MAX);
}

static int end_of_line(struct sct_stage *stage, const char **line)
{
	char word[SCT_WORD_MAX + 1];
	int len = next_word(stage, line, word);

	return len > 0 ? sct_refuse(stage, -EINVAL, "too many words") : len;
}

static int run_clear(struct sct_stage *stage, const char *line)
{
	int err = end_of_line(stage, &line);

	return err ?: sct_stage_clear(stage);
}

/* trace NAME..., untrace NAME... */
static int run_trace(struct sct_stage *stage, const char *line, bool on)
{
	char name[SCT_WORD_MAX + 1];
	int err, names = 0;

	while ((err = next_word(stage, &line, name)) > 0) {
		err = sct_stage_trace(stage, name, on);
		if (err)
			return err;
		names++;
	}
	if (err)
		return err;
	return names ? 0 : sct_refuse(stage, -EINVAL, "a name is missing");
}

static int octal_byte(const char *s)
{
	unsigned int i, value = 0;

	for (i = 0; i < 3; i++) {
		if (s[i] < '0' || s[i] > '7')
			return -EINVAL;
		value = value * 8 + s[i] - '0';
	}
	return value && value <= 255 ? value : -EINVAL;
}

/* Undoes the escapes of the log. Returns the length, or an error. */
static int unescape(struct sct_stage *stage, char *to, const char *from,
		    size_t max)
{
	size_t n = 0;

	for (; *from; from++) {
		int c = *from;

		if (c == '\\') {
			c = octal_byte(from + 1);
			if (c < 0)
				return sct_refuse(stage, c, "a bad escape");
			from += 3;
		}
		if (n == max)
			return sct_refuse(stage, -E2BIG, "a text is too long");
		to[n++] = c;
	}
	return n ?: sct_refuse(stage, -EINVAL, "a value is missing");
}

/* The parsers of the kernel would take a sign as well. */
static int parse_pid(struct sct_stage *stage, struct sct_filter *filter,
		     const char *value)
{
	if (!isdigit(*value) || kstrtoint(value, 10, &filter->pid))
		return sct_refuse(stage, -EINVAL, "not a pid");
	return 0;
}

static int parse_uid(struct sct_stage *stage, struct sct_filter *filter,
		     const char *value)
{
	if (!isdigit(*value) || kstrtouint(value, 10, &filter->uid))
		return sct_refuse(stage, -EINVAL, "not a uid");
	return 0;
}

static int parse_comm(struct sct_stage *stage, struct sct_filter *filter,
		      const char *value)
{
	int n = unescape(stage, filter->comm, value, SCT_COMM_LEN - 1);

	return n < 0 ? n : 0;
}

static int parse_path(struct sct_stage *stage, struct sct_filter *filter,
		      const char *value)
{
	int n = unescape(stage, filter->path, value, SCT_PATH_MAX);

	if (n < 0)
		return n;
	filter->path_len = n;
	return 0;
}

static int parse_errno(struct sct_stage *stage, struct sct_filter *filter,
		       const char *value)
{
	int number = sct_errno_number(value);

	if (number < 0)
		return sct_refuse(stage, -EINVAL, "not an errno");
	filter->error = number;
	return 0;
}

static const struct {
	const char *key;
	u8 field;
	int (*parse)(struct sct_stage *stage, struct sct_filter *filter,
		     const char *value);
} options[] = {
	{ "errno=", 0, parse_errno },
	{ "pid=", SCT_IF_PID, parse_pid },
	{ "uid=", SCT_IF_UID, parse_uid },
	{ "comm=", SCT_IF_COMM, parse_comm },
	{ "path=", SCT_IF_PATH, parse_path },
};

/* errno=E or a predicate; @given collects what there was. */
static int parse_option(struct sct_stage *stage, struct sct_filter *filter,
			const char *word, unsigned int *given)
{
	size_t i, len;

	for (i = 0; i < ARRAY_SIZE(options); i++) {
		len = strlen(options[i].key);
		if (strncmp(word, options[i].key, len))
			continue;
		if (*given & BIT(i))
			return sct_refuse(stage, -EINVAL, "given twice");
		if (!options[i].field && filter->status != SCT_BLOCKED)
			return sct_refuse(stage, -EINVAL, "errno= is for block");
		*given |= BIT(i);
		filter->fields |= options[i].field;
		return options[i].parse(stage, filter, word + len);
	}
	return sct_refuse(stage, -EINVAL, strchr(word, '=') ?
		      "not a predicate" : "too many words");
}

static int run_filter(struct sct_stage *stage, struct sct_filter *filter,
		      const char *line)
{
	char word[OPTION_MAX + 1];
	unsigned int given = 0;
	int err;

	while ((err = next_long_word(stage, &line, word, OPTION_MAX)) > 0) {
		if (err > SCT_WORD_MAX && strncmp(word, "path=", 5) &&
		    strncmp(word, "comm=", 5))
			return sct_refuse(stage, -E2BIG, "a word is too long");
		err = parse_option(stage, filter, word, &given);
		if (err)
			return err;
	}
	return err ?: sct_stage_filter(stage, filter);
}

static int add_filter(struct sct_stage *stage, const char *name, u8 status,
		      const char *line)
{
	struct sct_filter *filter = kzalloc(sizeof(*filter), GFP_KERNEL);
	int err;

	if (!filter)
		return sct_refuse(stage, -ENOMEM, "out of memory");
	strscpy(filter->name, name, sizeof(filter->name));
	filter->status = status;
	err = run_filter(stage, filter, line);
	kfree(filter);
	return err;
}

static int run_delete(struct sct_stage *stage, const char *name,
		      const char *line)
{
	int err = end_of_line(stage, &line);

	return err ?: sct_stage_delete(stage, name);
}

/* NAME block ..., NAME allow ..., NAME delete */
static int run_named(struct sct_stage *stage, const char *name,
		     const char *line)
{
	char verb[SCT_WORD_MAX + 1];
	int err = next_word(stage, &line, verb);

	if (err < 0)
		return err;
	if (!err)
		return sct_refuse(stage, -EINVAL, "a word is missing");
	if (!strcmp(verb, "block"))
		return add_filter(stage, name, SCT_BLOCKED, line);
	if (!strcmp(verb, "allow"))
		return add_filter(stage, name, SCT_ALLOWED, line);
	if (!strcmp(verb, "delete"))
		return run_delete(stage, name, line);
	return sct_refuse(stage, -EINVAL, "not a command");
}

static int run_line(struct sct_stage *stage, const char *line)
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
static int run_lines(struct sct_stage *stage, char **text)
{
	char *line, *rest = *text;
	int err;

	while ((line = strsep(&rest, "\n"))) {
		*text = line;
		err = run_line(stage, line);
		if (rest)
			rest[-1] = '\n';	/* it ends the quotation */
		if (err)
			return err;
	}
	return 0;
}

static int run_transaction(struct sct_stage *stage, char **text)
{
	char *first = *text;
	int err = sct_stage_begin(stage);

	if (err)
		return err;
	err = run_lines(stage, text);
	/* What is refused now is refused of all of them together. */
	if (!err)
		*text = first;
	return sct_stage_end(stage, err);
}

/* Leaves @text at the line that is refused. */
static int check_bytes(struct sct_stage *stage, char **text, size_t count)
{
	char *end = *text + count;
	char *p;

	for (p = *text; p < end; p++) {
		if (*p == '\n')
			*text = p + 1;
		else if (!is_text(*p))
			return sct_refuse(stage, -EINVAL, "a byte that is no text");
	}
	return 0;
}

static int run_text(struct sct_stage *stage, char **text, size_t count)
{
	char *line = *text;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return sct_refuse(stage, -EPERM, "it takes CAP_SYS_ADMIN");
	if (count > WRITE_MAX)
		return sct_refuse(stage, -E2BIG, "more than 4096 bytes");
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
	struct sct_stage *stage;
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
