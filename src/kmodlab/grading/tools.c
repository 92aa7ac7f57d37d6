/*
 * What the grader itself does in a machine, as one program without libraries: to start each of insmod, rmmod, ls, tar
 * and date takes longer than what they do, where the machine is emulated. Compiled there as vm/agent.c is.
 *
 *     tools clock SECONDS         sets the clock
 *     tools put FILE SIZE...      writes files, one after the other from its input
 *     tools insmod FILE WORDS     loads a module with parameters
 *     tools rmmod NAME...         unloads modules
 *     tools look                  shows names that a module may leave behind
 *     tools taint                 shows what the kernel says of itself
 *     tools wait SECONDS
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct timespec seconds_of(const char *words)
{
	double seconds = strtod(words, NULL);
	struct timespec time = { .tv_sec = (time_t)seconds };

	time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
	return time;
}

static int set_clock(const char *words)
{
	struct timespec now = seconds_of(words);

	return clock_settime(CLOCK_REALTIME, &now) ? 1 : 0;
}

static int wait_for(const char *words)
{
	struct timespec time = seconds_of(words);

	return nanosleep(&time, NULL) ? 1 : 0;
}

static void put(const char *name, long size)
{
	static char content[1 << 16];
	int file = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (file < 0)
		err(1, "%s", name);
	while (size > 0) {
		size_t most = size < (long)sizeof(content) ? (size_t)size : sizeof(content);
		ssize_t got = read(STDIN_FILENO, content, most);

		if (got <= 0 || write(file, content, got) != got)
			err(1, "%s", name);
		size -= got;
	}
	close(file);
}

/* The words are those of kmod's insmod. */
static const char *why_not_loaded(int error)
{
	switch (error) {
	case ENOEXEC:
		return "Invalid module format";
	case ENOENT:
		return "Unknown symbol in module";
	case ESRCH:
		return "Module has wrong symbol version";
	case EINVAL:
		return "Invalid parameters";
	default:
		return strerror(error);
	}
}

static int insert(const char *name, const char *parameters)
{
	int file = open(name, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		err(1, "%s", name);
	if (syscall(SYS_finit_module, file, parameters, 0) == 0)
		return 0;
	fprintf(stderr, "insmod: ERROR: could not insert module %s: %s\n", name, why_not_loaded(errno));
	return 1;
}

static int take_out(const char *name)
{
	if (syscall(SYS_delete_module, name, O_NONBLOCK) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		fprintf(stderr, "rmmod: ERROR: Module %s is in use\n", name);
	else if (errno == ENOENT)
		fprintf(stderr, "rmmod: ERROR: Module %s is not currently loaded\n", name);
	else
		fprintf(stderr, "rmmod: ERROR: could not remove module %s: %s\n", name, strerror(errno));
	return 1;
}

/* Names alone: the files may be of a module that is gone, and have no code any more. */
static void show_names(const char *directory)
{
	DIR *open = opendir(directory);

	printf("%s:\n", directory);
	for (struct dirent *entry; open && (entry = readdir(open));)
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			puts(entry->d_name);
	if (open)
		closedir(open);
}

static void show_content(const char *name)
{
	FILE *file = fopen(name, "r");

	for (int letter; file && (letter = getc(file)) != EOF;)
		putchar(letter);
	if (file)
		fclose(file);
}

static int show_taint(void)
{
	show_content("/proc/sys/kernel/tainted");
	return 0;
}

static int look(void)
{
	show_names("/proc");
	show_names("/dev");
	show_names("/sys/class");
	show_names("/sys/module");
	show_names("/sys/kernel/debug");
	show_content("/proc/devices");
	show_content("/proc/misc");
	return 0;
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "";

	if (!strcmp(what, "look"))
		return look();
	if (!strcmp(what, "taint"))
		return show_taint();
	if (!strcmp(what, "clock") && count == 3)
		return set_clock(words[2]);
	if (!strcmp(what, "wait") && count == 3)
		return wait_for(words[2]);
	if (!strcmp(what, "insmod") && count == 4)
		return insert(words[2], words[3]);
	if (strcmp(what, "put") && strcmp(what, "rmmod"))
		errx(2, "%s: not one of my tools", what);
	for (int at = 2; at < count; at++) {
		if (!strcmp(what, "rmmod") && take_out(words[at]))
			return 1;
		if (!strcmp(what, "put") && at % 2)
			put(words[at - 1], strtol(words[at], NULL, 10));
	}
	return 0;
}
