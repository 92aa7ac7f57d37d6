// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rows of a selection: as a table, as JSON lines, and as binary records.
 */
#include <linux/atomic.h>
#include <linux/crc32.h>
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include "lister.h"

/* More than each field at its widest, with its name. */
#define SELECTED_MAX	2048

/**
 * tl_pass_begin() - a reader begins to look at all tasks
 * @pass: of its open file
 *
 * Context: Any.
 */
void tl_pass_begin(struct tl_pass *pass)
{
	static atomic64_t passes = ATOMIC64_INIT(0);

	pass->number = atomic64_inc_return(&passes);
	pass->begin = ktime_get_boottime_ns();
	pass->sum = ~0;
}

static unsigned int width_of(u8 field)
{
	switch (field) {
	case TL_COMM:
	case TL_ID:
		return 20;
	case TL_START:
	case TL_END:
	case TL_USER:
	case TL_SYSTEM:
		return 16;
	case TL_STATE:
	case TL_VM:
	case TL_RSS:
	case TL_SHARED:
	case TL_SWAP:
	case TL_PEAK:
		return 10;
	default:
		return 8;
	}
}

static char *put_string(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

#define DIGITS	20	/* of the greatest number */

/* Copies more than there is: a copy of a fixed size is no call. */
static char *put_u64(char *to, u64 number)
{
	char digits[2 * DIGITS] = {};
	size_t at = DIGITS;

	do {
		digits[--at] = '0' + number % 10;
		number /= 10;
	} while (number);
	memcpy(to, digits + at, DIGITS);
	return to + DIGITS - at;
}

static char *put_s64(char *to, s64 number)
{
	if (number >= 0)
		return put_u64(to, number);
	*to++ = '-';
	return put_u64(to, -number);
}

/* Fields that are words are put with these around them: quotes, or nothing. */
static char *put_word(char *to, const struct tl_values *v, u8 field,
		      const char *quote)
{
	char name[TL_COMMAND_SIZE];
	const char *from = name;

	to = put_string(to, quote);
	switch (field) {
	case TL_STATE:
		to = put_string(to, tl_state_name(v->number[TL_STATE]));
		break;
	case TL_LETTER:
		*to++ = v->number[TL_LETTER];
		break;
	case TL_POLICY:
		to = put_string(to, tl_policy_name(v->number[TL_POLICY]));
		break;
	case TL_COMM:
		tl_escape(name, v->comm);
		/* What JSON takes for an escape, or for the end. */
		while (*from) {
			if (*quote && (*from == '\\' || *from == '"'))
				*to++ = '\\';
			*to++ = *from++;
		}
		break;
	}
	return put_string(to, quote);
}

static char *put_field(char *to, const struct tl_values *v, u8 field,
		       const char *quote, const char *unknown)
{
	if (!(v->known & BIT_ULL(field)))
		return put_string(to, unknown);
	switch (field) {
	case TL_COMM:
	case TL_STATE:
	case TL_LETTER:
	case TL_POLICY:
		return put_word(to, v, field, quote);
	case TL_PRIO:
	case TL_NICE:
		return put_s64(to, v->number[field]);
	default:
		return put_u64(to, v->number[field]);
	}
}

static char *put_blanks(char *to, const char *begin, size_t width)
{
	size_t length = to - begin;
	size_t count = 1 + max(length, width) - length;

	memset(to, ' ', count);
	return to + count;
}

static char *put_table(char *to, const struct tl_selection *s,
		       const struct tl_values *v)
{
	unsigned int i;

	for (i = 0; i < s->columns; i++) {
		char *begin = to;

		to = put_field(to, v, s->column[i], "", "-");
		if (i + 1 < s->columns)
			to = put_blanks(to, begin, width_of(s->column[i]));
	}
	*to++ = '\n';
	return to;
}

static char *put_jsonl(char *to, const struct tl_selection *s,
		       const struct tl_values *v)
{
	unsigned int i;

	for (i = 0; i < s->columns; i++) {
		memcpy(to, s->key[i].text, sizeof(s->key[i].text));
		to += s->key[i].size;
		to = put_field(to, v, s->column[i], "\"", "null");
	}
	return put_string(to, "}\n");
}

static char *put_bin(char *to, const struct tl_selection *s,
		     const struct tl_values *v)
{
	unsigned int i;

	for (i = 0; i < s->columns; i++) {
		u8 field = s->column[i];
		u64 number = U64_MAX;

		if (v->known & BIT_ULL(field))
			number = v->number[field];
		if (field == TL_COMM) {
			memset(to, 0, sizeof(v->comm));
			if (v->known & BIT_ULL(TL_COMM))
				strscpy(to, v->comm, sizeof(v->comm));
			to += sizeof(v->comm);
		} else {
			memcpy(to, &number, sizeof(number));
			to += sizeof(number);
		}
	}
	return to;
}

static void show_row(struct seq_file *m, struct tl_cursor *cursor)
{
	const struct tl_selection *selection = cursor->selection;
	struct tl_values values;
	char *row, *end;

	if (seq_get_buf(m, &row) < SELECTED_MAX) {
		seq_commit(m, -1);
		return;
	}
	if (selection->is_ended)
		values = cursor->ended;
	else if (cursor->place == TL_GONE)
		tl_values_gone(&values, cursor);
	else
		tl_values_read(&values, cursor);
	if (selection->format == TL_TABLE)
		end = put_table(row, selection, &values);
	else if (selection->format == TL_JSONL)
		end = put_jsonl(row, selection, &values);
	else
		end = put_bin(row, selection, &values);
	cursor->pass.sum = crc32_le(cursor->pass.sum, row, end - row);
	seq_commit(m, end - row);
}

static void show_titles(struct seq_file *m, const struct tl_selection *s)
{
	unsigned int i;

	for (i = 0; i < s->columns; i++) {
		const char *name = tl_field_name(s->column[i]);
		size_t length = strlen(name);

		while (*name)
			seq_putc(m, toupper(*name++));
		if (i + 1 < s->columns)
			tl_blanks(m, max_t(int, width_of(s->column[i]) - length, 0) + 1);
	}
	seq_putc(m, '\n');
}

/* What a binary pass begins with: see docs/abi.md. */
struct bin_head {
	char magic[8];
	u32 row;
	u32 columns;
};

static void show_bin_head(struct seq_file *m, const struct tl_selection *s)
{
	struct bin_head head = {
		.magic = "tasks-1",
		.row = s->columns * sizeof(u64),
		.columns = s->columns,
	};

	if (s->wanted & BIT_ULL(TL_COMM))
		head.row += TASK_COMM_LEN - sizeof(u64);
	seq_write(m, &head, sizeof(head));
}

/* Numbers of the last line: behind those of all passes, of who has ended two. */
enum { END_NUMBERS = 5, ENDED_NUMBERS = 7 };

static void show_end(struct seq_file *m, const struct tl_cursor *cursor)
{
	static const char * const names[ENDED_NUMBERS] = {
		"pass", "begin", "end", "rows", "crc32", "next", "missed",
	};
	const struct tl_pass *pass = &cursor->pass;
	const u64 numbers[ENDED_NUMBERS] = {
		pass->number, pass->begin, ktime_get_boottime_ns(), cursor->rows,
		(u32)~pass->sum, cursor->until + 1, cursor->missed,
	};
	const struct tl_selection *s = cursor->selection;
	unsigned int i, count = s->is_ended ? ENDED_NUMBERS : END_NUMBERS;

	if (s->format == TL_BIN) {
		seq_write(m, numbers, count * sizeof(*numbers));
		return;
	}
	for (i = 0; i < count; i++) {
		if (s->format == TL_JSONL)
			seq_printf(m, "%c\"%s\":%llu", i ? ',' : '{', names[i], numbers[i]);
		else
			seq_printf(m, "%s%s=%llu", i ? " " : "", names[i], numbers[i]);
	}
	seq_puts(m, s->format == TL_JSONL ? "}\n" : "\n");
}

/**
 * tl_select_show() - show what stands next, as it was chosen
 * @m: the open file
 * @cursor: where it stands; has a selection
 *
 * Context: Process context, takes locks of the task one after the other.
 */
void tl_select_show(struct seq_file *m, struct tl_cursor *cursor)
{
	const struct tl_selection *selection = cursor->selection;

	switch (cursor->place) {
	case TL_HEADER:
		if (selection->format == TL_TABLE)
			show_titles(m, selection);
		else if (selection->format == TL_BIN)
			show_bin_head(m, selection);
		break;
	case TL_PROCESS:
	case TL_GONE:
		show_row(m, cursor);
		break;
	case TL_FOOTER:
		show_end(m, cursor);
		break;
	}
}
