// SPDX-License-Identifier: GPL-2.0
/* Steps that run other steps as another user, without a capability, in a namespace; and shell commands. */
#include "helper.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

typedef const char *(*change_fn)(const struct step *s);

static void drain(int fd, struct buffer *b)
{
	if (slurp_fd(fd, 65536, b) < 0)
		die("cannot read from a child: %s", strerror(errno));
	close(fd);
}

static void send_and_exit(int fd)
{
	size_t sent = 0;

	while (sent < out.len) {
		ssize_t n = write(fd, out.data + sent, out.len - sent);

		if (n <= 0)
			_exit(1);
		sent += n;
	}
	_exit(0);
}

/* The child changes itself, runs the script and passes back what it had to say. */
static void inside(int fd, change_fn change, const struct step *s, const char *script)
{
	const char *trouble;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	buffer_free(&out);
	trouble = change(s);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (trouble) {
		out_raw("[],");
		out_string("trouble", trouble);
	} else {
		run_script(script);
		zoo_end();
	}
	send_and_exit(fd);
}

static void run_changed(const struct step *s, long flags, change_fn change)
{
	struct buffer b = { 0 };
	int ends[2], status;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	pid = syscall(__NR_clone, SIGCHLD | flags, 0, 0, 0, 0);
	if (!pid)
		inside(ends[1], change, s, s->word[s->words - 1]);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		out_key("inner");
		out_raw("[]");
		out_string("trouble", strerror(errno));
		return;
	}
	drain(ends[0], &b);
	if (waitpid(pid, &status, 0) < 0 || status)
		die("%s: the child ended with status %d", s->word[0], status);
	out_long("pid", pid);
	out_key("inner");
	out_raw(b.data ? b.data : "[]");
	buffer_free(&b);
}

static const char *become_user(const struct step *s)
{
	uid_t uid = word_long(s, 1);
	gid_t gid = word_long(s, 2);

	if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return strerror(errno);
	return NULL;
}

static const char *drop_sys_admin(const struct step *s)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];

	(void)s;
	if (syscall(__NR_capget, &head, caps))
		return strerror(errno);
	caps[0].effective &= ~(1U << CAP_SYS_ADMIN);
	caps[0].permitted &= ~(1U << CAP_SYS_ADMIN);
	caps[0].inheritable &= ~(1U << CAP_SYS_ADMIN);
	return syscall(__NR_capset, &head, caps) ? strerror(errno) : NULL;
}

static const char *nothing_to_change(const struct step *s)
{
	(void)s;
	return NULL;
}

static const char *mount_own_proc(const struct step *s)
{
	(void)s;
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("proc", "/proc", "proc", 0, NULL))
		return strerror(errno);
	return NULL;
}

/* as UID GID SCRIPT */
void step_as(const struct step *s)
{
	run_changed(s, 0, become_user);
}

/* nocap SCRIPT: root, but not CAP_SYS_ADMIN */
void step_nocap(const struct step *s)
{
	run_changed(s, 0, drop_sys_admin);
}

/* userns SCRIPT: all capabilities, but in a user namespace of its own, with no id mapped */
void step_userns(const struct step *s)
{
	run_changed(s, CLONE_NEWUSER, nothing_to_change);
}

/* pidns SCRIPT: as process 1 of a PID namespace with its own /proc */
void step_pidns(const struct step *s)
{
	run_changed(s, CLONE_NEWPID | CLONE_NEWNS, mount_own_proc);
}

/* sh COMMAND: standard output and error together */
void step_sh(const struct step *s)
{
	struct buffer b = { 0 };
	int ends[2], status = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		execl("/bin/sh", "sh", "-c", s->word[1], NULL);
		_exit(127);
	}
	close(ends[1]);
	drain(ends[0], &b);
	waitpid(pid, &status, 0);
	out_long("rc", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	out_text("text", b.data ? b.data : "", b.len);
	buffer_free(&b);
}
