// SPDX-License-Identifier: GPL-2.0-only
/*
 * Records and filters as text.
 */
#include <linux/fcntl.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/un.h>

#include "tracer.h"

/* As the kernel has it: a scope was not always part of the address. */
#define IN6_MIN	24

/* Whoever chose it: it must stay one word, and no control codes. */
static void show_text(struct seq_file *m, const u8 *text, size_t size,
		      const char *also)
{
	for (; size; size--, text++) {
		if (*text > ' ' && *text <= '~' && *text != '\\' &&
		    !strchr(also, *text))
			seq_putc(m, *text);
		else
			seq_printf(m, "\\%03o", *text);
	}
}

/* Shows a command name, and pads it to the width of its column. */
static void show_comm(struct seq_file *m, const char *comm)
{
	size_t width = 0, size = strnlen(comm, SCT_COMM_LEN);
	size_t i;

	if (!size) {
		seq_puts(m, "\\000");
		width = 4;
	}
	show_text(m, (const u8 *)comm, size, "");
	for (i = 0; i < size; i++)
		width += comm[i] > ' ' && comm[i] <= '~' && comm[i] != '\\' ?
			 1 : 4;
	for (; width < SCT_COMM_LEN - 1; width++)
		seq_putc(m, ' ');
}

static void show_quoted(struct seq_file *m, const u8 *text, size_t size)
{
	seq_putc(m, '"');
	show_text(m, text, size, "\"");
	seq_putc(m, '"');
}

/* The name of an abstract socket begins with a zero and may have more. */
static void show_unix(struct seq_file *m, const u8 *path, size_t size)
{
	seq_puts(m, "unix:");
	show_quoted(m, path, size && *path ? strnlen(path, size) : size);
}

static void show_sockaddr(struct seq_file *m, const u8 *data, size_t size)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} address = {};
	size_t family = sizeof(address.any.sa_family);

	if (size < family) {
		seq_puts(m, "family:?");
		return;
	}
	memcpy(&address, data, min(size, sizeof(address)));
	if (address.any.sa_family == AF_INET && size >= sizeof(address.in))
		seq_printf(m, "inet:%pISpc", &address);
	else if (address.any.sa_family == AF_INET6 && size >= IN6_MIN)
		seq_printf(m, "inet6:%pISpc", &address);
	else if (address.any.sa_family == AF_UNIX)
		show_unix(m, data + family, size - family);
	else
		seq_printf(m, "family:%u", address.any.sa_family);
}

/* Finds what an argument points to, if that could be read. */
static const u8 *find_item(const struct sct_record *rec, unsigned int arg,
			   size_t *size)
{
	struct sct_item head;
	size_t at;

	for (at = 0; at + sizeof(head) <= rec->size; at += head.size) {
		memcpy(&head, rec->data + at, sizeof(head));
		at += sizeof(head);
		/* All is well in there, but on this the kernel's memory hangs. */
		if (head.size > rec->size - at)
			break;
		*size = head.size;
		if (head.arg == arg)
			return rec->data + at;
	}
	return NULL;
}

static void show_item(struct seq_file *m, const struct sct_record *rec,
		      unsigned int arg, char kind)
{
	size_t size;
	const u8 *data = find_item(rec, arg, &size);

	if (!data) {
		seq_printf(m, "0x%llx", rec->args[arg]);
	} else if (kind == SCT_ARG_SOCKADDR) {
		show_sockaddr(m, data, size);
	} else {
		show_quoted(m, data, size);
		if (rec->flags & SCT_TRUNCATED &&
		    size >= sct_signature_room(sct_record_signature(rec)))
			seq_puts(m, "...");
	}
}

static void show_arg(struct seq_file *m, const struct sct_record *rec,
		     unsigned int i, char kind)
{
	u64 arg = rec->args[i];

	switch (kind) {
	case SCT_ARG_DIRFD:
		if ((int)arg == AT_FDCWD) {
			seq_puts(m, "AT_FDCWD");
			break;
		}
		fallthrough;
	case SCT_ARG_FD:
	case SCT_ARG_INT:
		seq_printf(m, "%d", (int)arg);
		break;
	case SCT_ARG_UINT:
		seq_printf(m, "%u", (unsigned int)arg);
		break;
	case SCT_ARG_LONG:
		seq_printf(m, "%lld", rec->flags & SCT_COMPAT ?
			   (s64)(s32)arg : (s64)arg);
		break;
	case SCT_ARG_WIDE:
		seq_printf(m, "%lld", (s64)(rec->args[i + 1] << 32 | arg));
		break;
	case SCT_ARG_WIDE_FLAGS:
		seq_printf(m, "0x%llx", rec->args[i + 1] << 32 | arg);
		break;
	case SCT_ARG_SIZE:
		seq_printf(m, "%llu", arg);
		break;
	case SCT_ARG_FLAGS:
		seq_printf(m, "0x%x", (unsigned int)arg);
		break;
	case SCT_ARG_MODE:
		seq_printf(m, "0%o", (unsigned int)arg & 07777777);
		break;
	case SCT_ARG_PATH:
	case SCT_ARG_SOCKADDR:
		show_item(m, rec, i, kind);
		break;
	default:
		seq_printf(m, "0x%llx", arg);
	}
}

static void show_args(struct seq_file *m, const struct sct_record *rec)
{
	const char *signature = sct_record_signature(rec);
	unsigned int i;

	if (!*signature)
		seq_putc(m, '-');
	for (i = 0; signature[i] && i < SCT_ARGS; i++) {
		if (signature[i] == SCT_ARG_NONE)
			continue;
		if (i)
			seq_putc(m, ',');
		show_arg(m, rec, i, signature[i]);
	}
}

static void show_return(struct seq_file *m, const struct sct_record *rec)
{
	if (rec->flags & (SCT_RETURNED | SCT_ENFORCED))
		seq_printf(m, "%-8lld ", rec->ret);
	else
		seq_printf(m, "%-8s ", "-");
	if (rec->flags & SCT_RETURNED)
		seq_printf(m, "%-10llu ", rec->latency);
	else
		seq_printf(m, "%-10s ", "-");
}

/**
 * sct_text_row() - show a record as a row of the log
 * @m: where
 * @rec: the record
 *
 * Context: Process context, may sleep.
 */
void sct_text_row(struct seq_file *m, const struct sct_record *rec)
{
	seq_printf(m, "%-10s %-10d %-15lu %-10s %-10d %-10u %-4u ",
		   sct_call_name(rec->call), rec->pid,
		   (unsigned long)rec->jiffies,
		   rec->status == SCT_BLOCKED ? "BLOCKED" : "ALLOWED",
		   rec->tid, rec->uid, rec->cpu);
	show_comm(m, rec->comm);
	seq_printf(m, " %-3s ", rec->flags & SCT_COMPAT ? "32" : "64");
	show_return(m, rec);
	seq_printf(m, "%-8llu ", rec->seq);
	show_args(m, rec);
	seq_putc(m, '\n');
}

static void show_errno(struct seq_file *m, unsigned int number)
{
	const char *name = sct_errno_name(number);

	if (name)
		seq_printf(m, " errno=%s", name);
	else
		seq_printf(m, " errno=%u", number);
}

/**
 * sct_text_filter() - show a filter as a line
 * @m: where
 * @filter: the filter
 *
 * Context: Process context, may sleep.
 */
void sct_text_filter(struct seq_file *m, const struct sct_filter *filter)
{
	seq_printf(m, "%s: %s", filter->name,
		   filter->status == SCT_BLOCKED ? "BLOCK" : "ALLOW");
	if (filter->error)
		show_errno(m, filter->error);
	if (filter->fields & SCT_IF_PID)
		seq_printf(m, " pid=%d", filter->pid);
	if (filter->fields & SCT_IF_UID)
		seq_printf(m, " uid=%u", filter->uid);
	if (filter->fields & SCT_IF_COMM) {
		seq_puts(m, " comm=");
		show_text(m, (const u8 *)filter->comm, strlen(filter->comm), "");
	}
	if (filter->fields & SCT_IF_PATH) {
		seq_puts(m, " path=");
		show_text(m, (const u8 *)filter->path, filter->path_len, "");
	}
	seq_putc(m, '\n');
}
