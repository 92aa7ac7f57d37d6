// SPDX-License-Identifier: GPL-2.0
/* The interpreter: reads the script, runs each step, prints the answers. */
#include "helper.h"

#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

char work_dir[] = "/tmp/contract-XXXXXX";
pid_t last_pid;

static const struct {
	const char *name;
	void (*run)(const struct step *s);
} steps[] = {
	{ "read", step_read },	   { "filters", step_filters }, { "sizes", step_sizes },
	{ "write", step_write },   { "open", step_open },	{ "fread", step_fread },
	{ "fwrite", step_fwrite }, { "rewind", step_rewind },	{ "close", step_close },
	{ "mode", step_mode },	   { "call", step_call },	{ "as", step_as },
	{ "nocap", step_nocap },   { "userns", step_userns },	{ "pidns", step_pidns },
	{ "sh", step_sh },	   { "kmsg", step_kmsg },	{ "until", step_until },
	{ "spawn", step_spawn },   { "crowd", step_crowd },	{ "procs", step_procs },
	{ "pids", step_pids },	   { "ticks", step_ticks },	{ "stress", step_stress },
	{ "disband", step_disband }, { "flood", step_flood },
	{ "talk", step_talk },	   { "descriptors", step_descriptors },	{ "disguise", step_disguise },
	{ "load", step_load },	   { "hostile", step_hostile }, { "unmapping", step_unmapping },
};

static int hex(char c)
{
	const char *digits = "0123456789ABCDEF", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static size_t decode(char *word)
{
	char *from = word, *to = word;

	while (*from) {
		if (*from == '%' && hex(from[1]) >= 0 && hex(from[2]) >= 0) {
			*to++ = (char)(hex(from[1]) * 16 + hex(from[2]));
			from += 3;
		} else if (*from == '%') {
			from++; /* a lone % is the empty word */
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
	return to - word;
}

long word_long(const struct step *s, int i)
{
	if (i >= s->words)
		die("%s: word %d is missing", s->word[0], i);
	return strtol(s->word[i], NULL, 10);
}

const char *option(const struct step *s, const char *key)
{
	size_t n = strlen(key);
	int i;

	for (i = 1; i < s->words; i++)
		if (!strncmp(s->word[i], key, n) && s->word[i][n] == '=')
			return s->word[i] + n + 1;
	return NULL;
}

long option_long(const struct step *s, const char *key, long otherwise)
{
	const char *text = option(s, key);

	return text ? strtol(text, NULL, 10) : otherwise;
}

static void run_step(const struct step *s)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		if (strcmp(steps[i].name, s->word[0]))
			continue;
		out_raw("{");
		out_string("step", s->word[0]);
		steps[i].run(s);
		out_raw("}");
		return;
	}
	die("no such step: %s", s->word[0]);
}

static void run_line(char *line)
{
	struct step s = { 0 };
	char *word, *rest = NULL;

	for (word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (s.words == MAX_WORDS)
			die("more than %d words in a step", MAX_WORDS);
		s.len[s.words] = decode(word);
		s.word[s.words++] = word;
	}
	if (s.words)
		run_step(&s);
}

void run_script(const char *script)
{
	char *copy = strdup(script), *line, *rest = NULL;
	bool first = true;

	out_raw("[");
	for (line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (!first)
			out_raw(",\n");
		first = false;
		run_line(line);
	}
	out_raw("]");
	free(copy);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void too_late(int sig)
{
	static const char text[] = "contract helper: the script did not end within its deadline\n";
	ssize_t ignored = write(2, text, sizeof(text) - 1);

	(void)sig, (void)ignored;
	_exit(3);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		die("usage: helper DEADLINE-SECONDS SCRIPT");
	signal(SIGALRM, too_late);
	signal(SIGPIPE, SIG_IGN);
	alarm(strtoul(argv[1], NULL, 10));
	prctl(PR_SET_DUMPABLE, 1);
	if (!mkdtemp(work_dir) || chmod(work_dir, 0777))
		die("cannot make a folder in /tmp: %s", strerror(errno));
	run_script(argv[2]);
	zoo_end();
	nftw(work_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	fwrite(out.data, 1, out.len, stdout);
	return fflush(stdout) ? 2 : 0;
}
