// SPDX-License-Identifier: GPL-2.0
/* What the helper says: JSON, gathered in memory and printed at the end. */
#include "helper.h"

#include <stdarg.h>

struct buffer out;

_Noreturn void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("contract helper: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	zoo_end();
	exit(2);
}

void buffer_add(struct buffer *b, const void *data, size_t len)
{
	if (b->len + len + 1 > b->room) {
		b->room = (b->len + len + 1) * 2;
		b->data = realloc(b->data, b->room);
		if (!b->data)
			abort();
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buffer_free(struct buffer *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

void out_raw(const char *text)
{
	buffer_add(&out, text, strlen(text));
}

void out_key(const char *key)
{
	char last = out.len ? out.data[out.len - 1] : '{';

	if (!strchr("{[,", last))
		out_raw(",");
	out_raw("\"");
	out_raw(key);
	out_raw("\":");
}

/* Bytes become the code points of the same number, so that nothing is lost. */
void out_text(const char *key, const char *data, size_t len)
{
	char escaped[8];
	size_t i, from = 0;

	if (key)
		out_key(key);
	out_raw("\"");
	for (i = 0; i < len; i++) {
		unsigned char c = data[i];

		if (c >= ' ' && c <= '~' && c != '"' && c != '\\')
			continue;
		buffer_add(&out, data + from, i - from);
		snprintf(escaped, sizeof(escaped), c == '\n' ? "\\n" : "\\u%04x", c);
		out_raw(escaped);
		from = i + 1;
	}
	buffer_add(&out, data + from, len - from);
	out_raw("\"");
}

void out_string(const char *key, const char *text)
{
	out_text(key, text, strlen(text));
}

void out_long(const char *key, long value)
{
	char digits[32];

	snprintf(digits, sizeof(digits), "%ld", value);
	out_key(key);
	out_raw(digits);
}
