// SPDX-License-Identifier: GPL-2.0-only
/*
 * Selections: what is written to an open file, and which tasks it lets through.
 */
#include <linux/ctype.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "lister.h"

#define TEXT_MAX	1024	/* bytes of a selection */
#define WORD_SHOWN	40	/* bytes of a refused word in the kernel's log */

static int refuse(const char *word, const char *reason, int err)
{
	static DEFINE_RATELIMIT_STATE(limit, 5 * HZ, 50);

	if (__ratelimit(&limit))
		pr_warn(KBUILD_MODNAME ": refused \"%*pE\": %s\n",
			(int)strnlen(word, WORD_SHOWN), word, reason);
	return err;
}

static int parse_columns(struct tl_selection *s, const char *key, char *value)
{
	char *name;
	int field;

	s->columns = 0;
	s->wanted = 0;
	while ((name = strsep(&value, ","))) {
		field = tl_field_of(name);
		if (field < 0)
			return refuse(name, "no such column", -EINVAL);
		if (s->wanted & BIT_ULL(field))
			return refuse(name, "a column twice", -EINVAL);
		s->wanted |= BIT_ULL(field);
		s->column[s->columns++] = field;
	}
	return 0;
}

/* kstrtou32() takes a sign as well. */
static bool is_number(const char *text, u32 *number)
{
	return isdigit(*text) && !kstrtou32(text, 10, number);
}

static bool parse_range(struct tl_range *range, char *text)
{
	char *dash = strchr(text, '-');
	bool ok;

	if (dash)
		*dash = '\0';
	ok = is_number(text, &range->first) &&
	     is_number(dash ? dash + 1 : text, &range->last) &&
	     range->first <= range->last;
	/* As it was written, for who is told of it. */
	if (dash)
		*dash = '-';
	return ok;
}

static int parse_ranges(struct tl_ranges *ranges, char *value)
{
	char *one;

	ranges->count = 0;
	while ((one = strsep(&value, ","))) {
		if (ranges->count == TL_RANGES)
			return refuse(one, "too many numbers", -E2BIG);
		if (!parse_range(&ranges->range[ranges->count], one))
			return refuse(one, "no number, nor FIRST-LAST", -EINVAL);
		ranges->count++;
	}
	return 0;
}

static int parse_numbers(struct tl_selection *s, const char *key, char *value)
{
	struct tl_ranges *ranges = &s->uid;

	if (!strcmp(key, "pid"))
		ranges = &s->pid;
	else if (!strcmp(key, "ppid"))
		ranges = &s->ppid;
	return parse_ranges(ranges, value);
}

static int parse_state(struct tl_selection *s, const char *key, char *value)
{
	static const char letters[] = "RSDTtXZPI";
	const char *letter;

	s->states = 0;
	for (; *value; value++) {
		letter = strchr(letters, *value);
		if (!letter)
			return refuse(value, "no such state: RSDTtXZPI", -EINVAL);
		s->states |= BIT(letter - letters);
	}
	return s->states ? 0 : refuse(key, "a state is missing", -EINVAL);
}

static int parse_comm(struct tl_selection *s, const char *key, char *value)
{
	size_t length = strlen(value);

	s->comm_begins = length && value[length - 1] == '*';
	length -= s->comm_begins;
	if (!length)
		return refuse(key, "a name is missing", -EINVAL);
	if (length >= sizeof(s->comm))
		return refuse(value, "no name is as long", -EINVAL);
	memcpy(s->comm, value, length);
	s->comm_length = length;
	return 0;
}

static int parse_switch(struct tl_selection *s, const char *key, char *value)
{
	bool *on = strcmp(key, "threads") ? &s->kthreads : &s->threads;

	if (strcmp(value, "0") && strcmp(value, "1"))
		return refuse(value, "neither 0 nor 1", -EINVAL);
	*on = *value == '1';
	return 0;
}

static int parse_since(struct tl_selection *s, const char *key, char *value)
{
	s->is_since = true;
	if (!isdigit(*value) || kstrtou64(value, 10, &s->since))
		return refuse(value, "no number of a pass", -EINVAL);
	return 0;
}

static int parse_ended(struct tl_selection *s, const char *key, char *value)
{
	s->is_ended = true;
	if (!isdigit(*value) || kstrtou64(value, 10, &s->ended))
		return refuse(value, "no number of an end", -EINVAL);
	return 0;
}

static int parse_format(struct tl_selection *s, const char *key, char *value)
{
	static const char * const names[] = {
		[TL_TABLE] = "table",
		[TL_JSONL] = "jsonl",
		[TL_BIN] = "bin",
	};
	int format = match_string(names, ARRAY_SIZE(names), value);

	if (format < 0)
		return refuse(value, "no format: table, jsonl, bin", -EINVAL);
	s->format = format;
	return 0;
}

static const struct {
	const char *key;
	int (*parse)(struct tl_selection *s, const char *key, char *value);
} words[] = {
	{ "columns", parse_columns },
	{ "pid", parse_numbers },
	{ "ppid", parse_numbers },
	{ "uid", parse_numbers },
	{ "state", parse_state },
	{ "comm", parse_comm },
	{ "kthreads", parse_switch },
	{ "threads", parse_switch },
	{ "since", parse_since },
	{ "ended", parse_ended },
	{ "format", parse_format },
};

static int parse_word(struct tl_selection *s, char *word, unsigned int *seen)
{
	char *value = word;
	const char *key = strsep(&value, "=");
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(words[i].key, key))
			continue;
		if (!value)
			return refuse(key, "a value is missing", -EINVAL);
		if (*seen & BIT(i))
			return refuse(key, "a word twice", -EINVAL);
		*seen |= BIT(i);
		return words[i].parse(s, key, value);
	}
	return refuse(key, "no such word", -EINVAL);
}

/* What is shown where nothing else was asked for: the columns of the table. */
static const struct tl_selection all = {
	.kthreads = true,
	.states = BIT(TL_UNKNOWN + 1) - 1,
	.columns = 9,
	.column = {
		TL_PID, TL_PPID, TL_COMM, TL_STATE, TL_VM, TL_RSS, TL_THREADS,
		TL_UID, TL_GID,
	},
	.wanted = BIT_ULL(TL_PID) | BIT_ULL(TL_PPID) | BIT_ULL(TL_COMM) |
		  BIT_ULL(TL_STATE) | BIT_ULL(TL_VM) | BIT_ULL(TL_RSS) |
		  BIT_ULL(TL_THREADS) | BIT_ULL(TL_UID) | BIT_ULL(TL_GID),
};

static int check_ended(const struct tl_selection *s,
		       const struct tl_cursor *cursor)
{
	const char *reason;
	int err;

	if (s->is_since || s->threads)
		return refuse("ended", "goes with neither since nor threads", -EINVAL);
	reason = tl_ended_refused(cursor, &err);
	return reason ? refuse("ended", reason, err) : 0;
}

/* Who is gone is known by these. */
static int check(const struct tl_selection *s, const struct tl_cursor *cursor)
{
	const u64 needed = BIT_ULL(TL_ID) | BIT_ULL(TL_STATE);

	if (s->is_since && (s->wanted & needed) != needed)
		return refuse("since", "takes the columns id and state", -EINVAL);
	return s->is_ended ? check_ended(s, cursor) : 0;
}

static void make_keys(struct tl_selection *s)
{
	unsigned int i;

	for (i = 0; i < s->columns; i++)
		s->key[i].size = scnprintf(s->key[i].text, sizeof(s->key[i].text),
					   "%c\"%s\":", i ? ',' : '{',
					   tl_field_name(s->column[i]));
}

/* NULL where there is no word. */
static struct tl_selection *parse(const struct tl_cursor *cursor, char *text)
{
	struct tl_selection *s = NULL;
	unsigned int seen = 0;
	char *word;
	int err = 0;

	while (!err && (word = strsep(&text, " \t\n"))) {
		if (!*word)
			continue;
		if (!s)
			s = kmemdup(&all, sizeof(all), GFP_KERNEL_ACCOUNT);
		err = s ? parse_word(s, word, &seen) : -ENOMEM;
	}
	if (s && !err)
		err = check(s, cursor);
	if (err) {
		kfree(s);
		return ERR_PTR(err);
	}
	if (s)
		make_keys(s);
	return s;
}

/**
 * tl_selection_of() - read a selection
 * @cursor: of the open file
 * @text: as it was written
 * @size: bytes of it
 *
 * Context: Process context, may sleep.
 * Return: to be freed by kfree(); NULL: all, as if nothing had been written; an
 * ERR_PTR() for what is none.
 */
struct tl_selection *tl_selection_of(const struct tl_cursor *cursor,
				     const char __user *text, size_t size)
{
	struct tl_selection *selection;
	char *copy;

	if (size > TEXT_MAX)
		return ERR_PTR(refuse("", "longer than 1024 bytes", -E2BIG));
	copy = memdup_user_nul(text, size);
	if (IS_ERR(copy))
		return ERR_CAST(copy);
	if (strlen(copy) == size)
		selection = parse(cursor, copy);
	else
		selection = ERR_PTR(refuse(copy, "a zero byte", -EINVAL));
	kfree(copy);
	return selection;
}

static bool is_in(const struct tl_ranges *ranges, u32 number)
{
	unsigned int i;

	for (i = 0; i < ranges->count; i++)
		if (number >= ranges->range[i].first &&
		    number <= ranges->range[i].last)
			return true;
	return !ranges->count;
}

/**
 * tl_may_be_selected() - go to where the next selected process may be
 * @selection: what was chosen
 * @pid: the least number that is of interest; set to the next one that is asked
 *	for by number
 *
 * A thread's number is not its process's, so with threads all are looked at.
 *
 * Context: Any.
 * Return: whether there is one.
 */
bool tl_may_be_selected(const struct tl_selection *selection, pid_t *pid)
{
	const struct tl_ranges *ranges = &selection->pid;
	u32 next = U32_MAX;
	unsigned int i;

	if (!ranges->count || selection->threads || is_in(ranges, *pid))
		return true;
	for (i = 0; i < ranges->count; i++)
		if (ranges->range[i].first > *pid)
			next = min(next, ranges->range[i].first);
	if (next > PID_MAX_LIMIT)
		return false;
	*pid = next;
	return true;
}

static bool is_name(const struct tl_selection *s, const char *comm)
{
	char name[TL_COMMAND_SIZE];

	tl_escape(name, comm);
	if (strncmp(name, s->comm, s->comm_length))
		return false;
	return s->comm_begins || !name[s->comm_length];
}

static bool has_name(const struct tl_selection *s, struct task_struct *task)
{
	char comm[TASK_COMM_LEN];

	if (!s->comm_length)
		return true;
	get_task_comm(comm, task);
	return is_name(s, comm);
}

static bool has_relations(const struct tl_selection *s,
			  const struct tl_cursor *cursor,
			  struct task_struct *task)
{
	bool has;

	if (!s->pid.count && !s->ppid.count && !s->uid.count)
		return true;
	rcu_read_lock();
	has = is_in(&s->pid, pid_nr_ns(task_tgid(task), cursor->ns)) &&
	      is_in(&s->ppid, pid_nr_ns(tl_parent(task), cursor->ns)) &&
	      is_in(&s->uid, from_kuid_munged(cursor->user_ns,
					      __task_cred(task)->uid));
	rcu_read_unlock();
	return has;
}

/**
 * tl_is_selected() - is this task one that was chosen?
 * @cursor: of the open file; has a selection
 * @task: leader of a process, or a thread, referenced
 *
 * Context: Process context, takes task_lock().
 * Return: whether it is.
 */
bool tl_is_selected(struct tl_cursor *cursor, struct task_struct *task)
{
	const struct tl_selection *s = cursor->selection;

	if (!s->kthreads && (task->flags & PF_KTHREAD))
		return false;
	if (!(s->states & BIT(tl_task_state(task))))
		return false;
	return has_relations(s, cursor, task) && has_name(s, task);
}

/**
 * tl_is_ended_selected() - is this one that has ended one that was chosen?
 * @s: what was chosen
 * @v: what is known of it
 *
 * Context: Any.
 * Return: whether it is.
 */
bool tl_is_ended_selected(const struct tl_selection *s,
			  const struct tl_values *v)
{
	if (!s->kthreads && v->number[TL_KTHREAD])
		return false;
	if (!(s->states & BIT(TL_DEAD)))
		return false;
	return is_in(&s->pid, v->number[TL_PID]) &&
	       is_in(&s->ppid, v->number[TL_PPID]) &&
	       is_in(&s->uid, v->number[TL_UID]) &&
	       (!s->comm_length || is_name(s, v->comm));
}
