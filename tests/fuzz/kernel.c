// SPDX-License-Identifier: GPL-2.0
/* What kernel.h declares. */
#include "fuzz.h"

const char *inet_ntop(int family, const void *from, char *to, unsigned int size);

struct fuzz_state fuzz;
struct mutex sct_lock;

void *fuzz_alloc(size_t size, bool zero)
{
	void *memory;

	if (fuzz.fail_in && !--fuzz.fail_in)
		return NULL;
	memory = malloc(size);
	assert(memory);
	/* What is not asked to be zero is not. */
	memset(memory, zero ? 0 : 0xa5, zero ? size : min(size, (size_t)256));
	fuzz.allocated++;
	return memory;
}

void fuzz_free(const void *memory)
{
	if (memory)
		fuzz.allocated--;
	free((void *)memory);
}

void *memdup_user_nul(const void *from, size_t size)
{
	char *copy;

	if (!from)
		return ERR_PTR(-EFAULT);
	copy = fuzz_alloc(size + 1, false);
	if (!copy)
		return ERR_PTR(-ENOMEM);
	memcpy(copy, from, size);
	copy[size] = '\0';
	return copy;
}

/* As lib/kstrtox.c: one sign, digits, one newline. */
static int parse(const char *text, unsigned int base, long long *result)
{
	const char *at = text + (*text == '-' || *text == '+');
	size_t digits = strspn(at, "0123456789");

	assert(base == 10);
	if (!digits || (at[digits] && strcmp(at + digits, "\n")))
		return -EINVAL;
	errno = 0;
	*result = strtoll(text, NULL, 10);
	return errno ? -ERANGE : 0;
}

int kstrtoint(const char *text, unsigned int base, int *result)
{
	long long value;
	int err = parse(text, base, &value);

	if (err)
		return err;
	if (value != (int)value)
		return -ERANGE;
	*result = value;
	return 0;
}

int kstrtouint(const char *text, unsigned int base, unsigned int *result)
{
	long long value;
	int err = *text == '-' ? -EINVAL : parse(text, base, &value);

	if (err)
		return err;
	if (value != (unsigned int)value)
		return -ERANGE;
	*result = value;
	return 0;
}

bool capable(int capability)
{
	assert(capability == CAP_SYS_ADMIN);
	return !fuzz.incapable;
}

void pr_warn(const char *format, ...)
{
	va_list arguments;
	int size;

	va_start(arguments, format);
	size = vsnprintf(fuzz.warning, sizeof(fuzz.warning), format, arguments);
	va_end(arguments);
	assert(size >= 0 && (size_t)size < sizeof(fuzz.warning));
	fuzz.warnings++;
}

static void append(struct seq_file *m, const char *text, size_t size)
{
	if (m->size + size + 1 > m->room) {
		m->room = 2 * (m->size + size + 1);
		m->text = realloc(m->text, m->room);
		assert(m->text);
	}
	memcpy(m->text + m->size, text, size);
	m->size += size;
	m->text[m->size] = '\0';
}

void seq_putc(struct seq_file *m, char c)
{
	append(m, &c, 1);
}

void seq_puts(struct seq_file *m, const char *text)
{
	append(m, text, strlen(text));
}

/* Address and port: family, port and address are where sockaddr_in and sockaddr_in6 have them. */
static void append_address(struct seq_file *m, const u8 *address)
{
	unsigned int family = address[0] | address[1] << 8, port = address[2] << 8 | address[3];
	char text[64], whole[80];

	assert(inet_ntop(family, address + (family == AF_INET ? 4 : 8), text, sizeof(text)));
	snprintf(whole, sizeof(whole), family == AF_INET ? "%s:%u" : "[%s]:%u", text, port);
	seq_puts(m, whole);
}

void seq_printf(struct seq_file *m, const char *format, ...)
{
	const char *address = strstr(format, "%pISpc");
	char text[512];
	va_list arguments;
	int size;

	va_start(arguments, format);
	if (address) {
		assert(!address[6] && strchr(format, '%') == address);
		append(m, format, address - format);
		append_address(m, va_arg(arguments, const u8 *));
	} else {
		size = vsnprintf(text, sizeof(text), format, arguments);
		assert(size >= 0 && (size_t)size < sizeof(text));
		append(m, text, size);
	}
	va_end(arguments);
}
