// SPDX-License-Identifier: GPL-2.0
/*
 * The commands as docs/abi.md has them, written anew and the plain way: the lines that are shown are the filters.
 */
#include "fuzz.h"

#define LINES_MAX 4096	/* of one input */
#define ROOM 2048	/* for a line or a value of one */

struct model {
	unsigned int count;
	const char *line[SCT_FILTERS_MAX];
	size_t size[SCT_FILTERS_MAX];
	bool traced[CALLS];
};

static struct model model;
static char *lines[LINES_MAX];
static unsigned int lines_made;

void model_reset(void)
{
	DECLARE_BITMAP(traced, SCT_CALLS_MAX);

	while (lines_made)
		free(lines[--lines_made]);
	memset(&model, 0, sizeof(model));
	mutex_lock(&sct_lock);
	sct_traced(traced);
	mutex_unlock(&sct_lock);
	for (unsigned int id = 0; id < CALLS; id++)
		model.traced[id] = test_bit(id, traced);
}

/* The next word of a line, or NULL. */
static char *next_word(char **rest)
{
	char *word = strsep(rest, " \t");

	while (word && !*word)
		word = strsep(rest, " \t");
	return word;
}

static int id_of(const char *name)
{
	int id;

	mutex_lock(&sct_lock);
	id = sct_points_get(name);
	mutex_unlock(&sct_lock);
	return id;
}

/* Fills in the ids that a name stands for; returns how many, or an error. */
static int ids_of(const char *name, int *ids)
{
	const char *const *member = *name == '=' ? NULL : sct_family_members(name);
	int n = 0;

	if (!member) {
		ids[0] = id_of(name + (*name == '='));
		return ids[0] < 0 ? ids[0] : 1;
	}
	for (; *member; member++) {
		ids[n] = id_of(*member);
		if (ids[n] >= 0)
			n++;
		else if (ids[n] != -ENOENT)
			return ids[n];
	}
	return n ? n : -ENOENT;
}

static int do_trace(struct model *to, char *rest, bool on)
{
	char *name;
	int names = 0;

	for (; (name = next_word(&rest)); names++) {
		int ids[8], n;

		if (strlen(name) > 63)
			return -E2BIG;
		n = ids_of(name, ids);
		if (n < 0)
			return n;
		while (n--)
			to->traced[ids[n]] = on;
	}
	return names ? 0 : -EINVAL;
}

static int do_delete(struct model *to, const char *name)
{
	unsigned int kept = 0, before = to->count;
	size_t len = strlen(name);

	for (unsigned int i = 0; i < before; i++) {
		if (!strncmp(to->line[i], name, len) && to->line[i][len] == ':')
			continue;
		to->size[kept] = to->size[i];
		to->line[kept++] = to->line[i];
	}
	to->count = kept;
	return kept == before ? -ENOENT : 0;
}

/* A text of the user's in the spelling of the log, and the number of bytes it stands for. */
static int respell(char *to, const char *from, int max)
{
	int n = 0;

	for (; *from; n++) {
		unsigned int byte = (unsigned char)*from++;

		if (byte == '\\') {
			if (strspn(from, "01234567") < 3)
				return -EINVAL;
			byte = (from[0] - '0') * 64 + (from[1] - '0') * 8 + from[2] - '0';
			if (!byte || byte > 255)
				return -EINVAL;
			from += 3;
		}
		if (n == max)
			return -E2BIG;
		to += sprintf(to, byte > 32 && byte < 127 && byte != '\\' ? "%c" : "\\%03o", byte);
	}
	*to = '\0';
	return n ? n : -EINVAL;
}

static int number(const char *text, unsigned long max, unsigned long *value)
{
	if (!*text || text[strspn(text, "0123456789")])
		return -EINVAL;
	errno = 0;
	*value = strtoul(text, NULL, 10);
	return errno || *value > max ? -EINVAL : 0;
}

/**
 * struct options - what stands behind the verb
 * @value: of errno, pid, uid, comm and path, as it is shown; empty if it was not given
 * @path: bytes of the path
 */
struct options {
	char value[5][ROOM];
	int path;
};

static const char *const keys[] = { "errno=", "pid=", "uid=", "comm=", "path=" };
enum { ERRNO, PID, UID, COMM, PATH };

static int do_errno(char *to, const char *text)
{
	int found = sct_errno_number(text);
	unsigned long value;

	if (*text >= '0' && *text <= '9' && (number(text, 133, &value) || !value))
		return -EINVAL;
	if (found < 0)
		return -EINVAL;
	if (sct_errno_name(found))
		sprintf(to, "%s", sct_errno_name(found));
	else
		sprintf(to, "%d", found);
	return 0;
}

static int do_option(struct options *options, const char *word, bool block)
{
	unsigned long value;
	int key = 0, n;
	char *to;

	if (strlen(word) > 63 && strncmp(word, "path=", 5) && strncmp(word, "comm=", 5))
		return -E2BIG;
	while (key <= PATH && strncmp(word, keys[key], strlen(keys[key])))
		key++;
	if (key > PATH)
		return -EINVAL;
	to = options->value[key];
	if (*to || (key == ERRNO && !block))
		return -EINVAL;
	word += strlen(keys[key]);
	if (key == ERRNO)
		return do_errno(to, word);
	if (key >= COMM) {
		n = respell(to, word, key == COMM ? 15 : 255);
		options->path = key == PATH ? n : options->path;
		return n < 0 ? n : 0;
	}
	if (number(word, key == PID ? INT32_MAX : UINT32_MAX, &value))
		return -EINVAL;
	sprintf(to, "%lu", value);
	return 0;
}

/* The least that is kept of a path by one of the calls that take one. */
static int kept_of_paths(const int *ids, int n)
{
	int least = 0;

	while (n--) {
		const char *s = sct_call_signature(ids[n]);
		int paths = 0, items = 0, room;

		for (; *s; s++) {
			paths += *s == 'p';
			items += *s == 'p' || *s == 'a';
		}
		room = items ? (int)sct_data_bytes / items - 4 : 0;
		if (paths && (!least || room < least))
			least = room;
	}
	return least;
}

static int add(struct model *to, const char *line)
{
	size_t size = strlen(line);

	for (unsigned int i = 0; i < to->count; i++)
		if (to->size[i] == size && !memcmp(to->line[i], line, size))
			return 0;
	if (to->count == SCT_FILTERS_MAX)
		return -ENOSPC;
	assert(lines_made < LINES_MAX);
	to->size[to->count] = size;
	to->line[to->count++] = lines[lines_made++] = strdup(line);
	return 0;
}

static int do_filter(struct model *to, const char *name, bool block, char *rest)
{
	static struct options options;
	static char line[8 * ROOM];
	char *at = line, *word;
	int ids[8], n, err;

	for (int key = ERRNO; key <= PATH; key++)
		*options.value[key] = '\0';
	while ((word = next_word(&rest))) {
		/* 5 and four times 255: a path of which every byte is escaped */
		err = strlen(word) > 1025 ? -E2BIG : do_option(&options, word, block);
		if (err)
			return err;
	}
	n = ids_of(name, ids);
	if (n < 0)
		return n;
	if (*options.value[PATH] && options.path > kept_of_paths(ids, n))
		return -EINVAL;
	at += sprintf(at, "%s: %s", name, block ? "BLOCK" : "ALLOW");
	for (int key = ERRNO; key <= PATH; key++)
		if (*options.value[key])
			at += sprintf(at, " %s%s", keys[key], options.value[key]);
	strcpy(at, "\n");
	err = add(to, line);
	while (!err && n--)
		to->traced[ids[n]] = true;
	return err;
}

/* `clear`, or what follows `delete`: nothing more on the line */
static int at_end(char *rest)
{
	const char *word = next_word(&rest);

	if (!word)
		return 0;
	return strlen(word) > 63 ? -E2BIG : -EINVAL;
}

static int do_line(struct model *to, char *line)
{
	char *name, *verb;
	int err;

	if (*line == '#')
		return 0;
	name = next_word(&line);
	if (!name)
		return 0;
	if (strlen(name) > 63)
		return -E2BIG;
	if (!strcmp(name, "clear")) {
		to->count = 0;
		return at_end(line);
	}
	if (!strcmp(name, "trace") || !strcmp(name, "untrace"))
		return do_trace(to, line, *name == 't');
	verb = next_word(&line);
	if (!verb)
		return -EINVAL;
	if (strlen(verb) > 63)
		return -E2BIG;
	if (!strcmp(verb, "block") || !strcmp(verb, "allow"))
		return do_filter(to, name, *verb == 'b', line);
	if (strcmp(verb, "delete"))
		return -EINVAL;
	err = at_end(line);
	return err ? err : do_delete(to, name);
}

/* Returns what a write is to return, bad addresses and lack of memory apart. */
int model_write(const char *text, size_t size)
{
	char copy[4097], *rest = copy, *line;
	struct model to = model;
	int err = 0;

	if (fuzz.incapable)
		return -EPERM;
	if (size > 4096)
		return -E2BIG;
	for (size_t i = 0; i < size; i++)
		if (text[i] != '\t' && text[i] != '\n' && (text[i] < 32 || text[i] > 126))
			return -EINVAL;
	memcpy(copy, text, size);
	copy[size] = '\0';
	while (!err && (line = strsep(&rest, "\n")))
		err = do_line(&to, line);
	if (!err && to.traced[ID_BUSY])
		err = -EBUSY;
	if (!err)
		model = to;
	return err ? err : (int)size;
}

void model_compare(const struct sct_filters *filters, const unsigned long *traced)
{
	static struct seq_file shown;

	assert(filters->count == model.count);
	for (unsigned int i = 0; i < model.count; i++) {
		shown.size = 0;
		sct_text_filter(&shown, &filters->filter[i]);
		assert(!strcmp(shown.text, model.line[i]));
	}
	for (unsigned int id = 0; id < CALLS; id++)
		assert(test_bit(id, traced) == model.traced[id]);
}
