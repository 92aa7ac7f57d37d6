// SPDX-License-Identifier: GPL-2.0
/*
 * Records of any bytes, as rows of the log: a row is one line of thirteen words in printable ASCII, whatever a process
 * has put there.
 *
 * An input is the name of a call, a zero, and the bytes of a record.
 */
#include "fuzz.h"

#define WORDS_IN_ROW 13
#define ROW_FIXED 400	/* at most, of a row without its paths and addresses */

static const char *name;
static bool compat;
static bool named_again;

unsigned int sct_data_bytes = SCT_DATA_MAX;

/* In place of call.c, point.c and trace.c: whatever the input calls it. */
const char *sct_call_name(unsigned int id)
{
	named_again |= id != 0;
	return name;
}

const char *sct_call_signature(unsigned int id)
{
	return sct_signature(sct_call_name(id));
}

const char *sct_record_signature(const struct sct_record *rec)
{
	compat = rec->flags & SCT_COMPAT;
	return compat ? sct_compat_signature(name) : sct_signature(name);
}

/* As many as the signature has letters; a comma within quotes separates nothing. */
static void check_arguments(const char *word)
{
	const char *signature = compat ? sct_compat_signature(name) : sct_signature(name);
	size_t expected = 0, found = *word != '-' || word[1] != '\n';
	bool quoted = false;

	for (; *signature; signature++)
		expected += *signature != SCT_ARG_NONE;
	for (; *word != '\n'; word++) {
		quoted ^= *word == '"';
		found += *word == ',' && !quoted;
	}
	assert(!quoted && found == expected);
}

static void check_row(const char *row, size_t size, size_t data)
{
	unsigned int words = 1;

	assert(size && row[size - 1] == '\n');
	/* Each byte as an escape, and the worst of what is no path. */
	assert(size <= ROW_FIXED + strlen(name) + 4 * data);
	for (size_t i = 0; i < size - 1; i++) {
		assert(row[i] >= ' ' && row[i] <= '~');
		words += row[i] == ' ' && row[i + 1] != ' ';
	}
	assert(row[size - 2] != ' ');
	assert(words == WORDS_IN_ROW);
	check_arguments(strrchr(row, ' ') + 1);
}

/* A copy with not a byte to spare, so that the sanitizer sees who reads on. */
static struct sct_record *copy_record(const u8 *data, size_t size)
{
	struct sct_record *rec = calloc(1, max(size, sizeof(*rec)));

	memcpy(rec, data, size);
	rec->call = 0;
	rec->size = size > sizeof(*rec) ? size - sizeof(*rec) : 0;
	return rec;
}

const char *__asan_default_options(void)
{
	return "malloc_context_size=3:quarantine_size_mb=8";
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	size_t length = strnlen((const char *)data, min(size, SCT_WORD_MAX));
	struct seq_file row = { 0 };
	struct sct_record *rec;
	char word[SCT_WORD_MAX + 1] = "";

	if (length == size || length == SCT_WORD_MAX || size - length - 1 > sizeof(*rec) + SCT_DATA_MAX)
		return 0;
	memcpy(word, data, length);
	/* The names of calls are the kernel's, and words. */
	if (!length || strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_") != length)
		return 0;
	name = word;
	rec = copy_record(data + length + 1, size - length - 1);
	sct_text_row(&row, rec);
	check_row(row.text, row.size, rec->size);
	assert(!named_again);
	free(row.text);
	free(rec);
	return 0;
}
