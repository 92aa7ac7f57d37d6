// SPDX-License-Identifier: GPL-2.0
/* What /proc itself says about the processes: the measure for the modules. */
#include "helper.h"

#include <ctype.h>
#include <dirent.h>

static const char *const status_keys[] = {
	"Name:",    "State:", "Tgid:",  "PPid:",   "TracerPid:",	      "Uid:",
	"Gid:",	    "VmSize:", "VmRSS:", "Threads:", "voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:",
	"VmHWM:",   "VmSwap:", "RssFile:", "RssShmem:", "NSpid:",
};

bool proc_state_is(pid_t pid, char state)
{
	struct buffer b = { 0 };
	char path[64], *at;
	bool is;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (slurp(path, 4096, &b) || !b.data) {
		buffer_free(&b);
		return false;
	}
	at = strrchr(b.data, ')');
	is = at && at[2] == state;
	buffer_free(&b);
	return is;
}

static void out_status(char *text)
{
	struct buffer kept = { 0 };
	char *line, *rest = NULL;
	size_t i;

	buffer_add(&kept, "", 0);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		for (i = 0; i < ARRAY_SIZE(status_keys); i++)
			if (!strncmp(line, status_keys[i], strlen(status_keys[i]))) {
				buffer_add(&kept, line, strlen(line));
				buffer_add(&kept, "\n", 1);
			}
	out_text("status", kept.data, kept.len);
	buffer_free(&kept);
}

static bool is_pid(const char *name)
{
	for (; *name; name++)
		if (!isdigit((unsigned char)*name))
			return false;
	return true;
}

static void out_process(const char *pid, bool whole)
{
	struct buffer status = { 0 }, stat = { 0 };
	char path[300];
	int error;

	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	error = slurp(path, 16384, &status);
	/* That of the main thread has its times alone; that of the process those of all threads, also of ended ones. */
	snprintf(path, sizeof(path), whole ? "/proc/%s/stat" : "/proc/%s/task/%s/stat", pid, pid);
	error = error ? error : slurp(path, 16384, &stat);
	if (!error && status.data && stat.data) {
		out_key(pid);
		out_raw("{");
		out_text("stat", stat.data, stat.len);
		out_status(status.data);
		out_raw("}");
	}
	buffer_free(&status);
	buffer_free(&stat);
}

static DIR *open_proc(void)
{
	DIR *dir = opendir("/proc");

	if (!dir)
		die("/proc: %s", strerror(errno));
	return dir;
}

/* procs [whole=1]: the status lines of every process, and the stat line of its main thread, or of it as a whole */
void step_procs(const struct step *s)
{
	DIR *dir = open_proc();
	struct dirent *entry;

	out_key("procs");
	out_raw("{");
	while ((entry = readdir(dir)))
		if (is_pid(entry->d_name))
			out_process(entry->d_name, option(s, "whole"));
	out_raw("}");
	closedir(dir);
}

/* pids: only their numbers */
void step_pids(const struct step *s)
{
	DIR *dir = open_proc();
	struct dirent *entry;
	bool comma = false;

	(void)s;
	out_key("pids");
	out_raw("[");
	while ((entry = readdir(dir))) {
		if (!is_pid(entry->d_name))
			continue;
		out_raw(comma ? "," : "");
		out_raw(entry->d_name);
		comma = true;
	}
	out_raw("]");
	closedir(dir);
}

/* ticks: jiffies as the kernel's own timer list prints them, or -1 where it has none */
void step_ticks(const struct step *s)
{
	struct buffer b = { 0 };
	char *at;

	(void)s;
	at = slurp("/proc/timer_list", 65536, &b) || !b.data ? NULL : strstr(b.data, "\njiffies: ");
	out_long("jiffies", at ? strtol(at + 10, NULL, 10) : -1);
	buffer_free(&b);
}
