/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The contract helper: a small interpreter that runs on the host under test.
 *
 * It is given a script, one step a line, and prints one JSON object a step. All of a test's work is
 * thus done in one remote command, by one process, with nothing in between that a slow machine
 * could stretch. Words of a step are separated by blanks; any byte may be written as %XX.
 */
#ifndef CONTRACT_HELPER_H
#define CONTRACT_HELPER_H

#define _GNU_SOURCE

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_WORDS 64

/* One step: its words, decoded; a word may hold NUL bytes, so each has a length. */
struct step {
	int words;
	char *word[MAX_WORDS];
	size_t len[MAX_WORDS];
};

struct buffer {
	char *data;
	size_t len, room;
};

/* main.c */
void run_script(const char *script);
const char *option(const struct step *s, const char *key);
long option_long(const struct step *s, const char *key, long otherwise);
long word_long(const struct step *s, int i);
extern char work_dir[];
extern pid_t last_pid;

/* out.c: JSON */
extern struct buffer out;
void buffer_add(struct buffer *b, const void *data, size_t len);
void buffer_free(struct buffer *b);
void out_text(const char *key, const char *data, size_t len);
void out_string(const char *key, const char *text);
void out_long(const char *key, long value);
void out_key(const char *key);
void out_raw(const char *text);
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* clock.c */
long now_ms(void);
void nap_ms(long ms);
void pin_to_cpu(int cpu);

/* files.c */
ssize_t slurp_fd(int fd, size_t chunk, struct buffer *b);
int slurp(const char *path, size_t chunk, struct buffer *b);
void step_read(const struct step *s);
void step_filters(const struct step *s);
void step_sizes(const struct step *s);
void step_write(const struct step *s);
void step_open(const struct step *s);
void step_fread(const struct step *s);
void step_fwrite(const struct step *s);
void step_rewind(const struct step *s);
void step_close(const struct step *s);
void step_mode(const struct step *s);

/* calls.c */
void step_call(const struct step *s);

/* who.c: run steps as somebody else, or elsewhere */
void step_as(const struct step *s);
void step_nocap(const struct step *s);
void step_userns(const struct step *s);
void step_pidns(const struct step *s);
void step_sh(const struct step *s);

/* talk.c */
void step_talk(const struct step *s);

/* kmsg.c */
void step_kmsg(const struct step *s);
void step_until(const struct step *s);

/* zoo.c */
void step_spawn(const struct step *s);
void step_crowd(const struct step *s);
void step_disband(const struct step *s);
void zoo_end(void);

/* procs.c */
bool proc_state_is(pid_t pid, char state);
void step_procs(const struct step *s);
void step_pids(const struct step *s);
void step_ticks(const struct step *s);

/* stress.c */
void step_stress(const struct step *s);
void step_flood(const struct step *s);

/* abuse.c */
void step_load(const struct step *s);
void step_hostile(const struct step *s);
void step_unmapping(const struct step *s);

/* descriptors.c */
void step_descriptors(const struct step *s);

/* disguise.c */
void step_disguise(const struct step *s);

#endif
