/*
 * Runs shell commands in a machine, for its controller at the other end of a virtio-serial port: what ssh
 * is for, without the network, the keys and the login, which take seconds where the machine is emulated. It is compiled
 * in the machine when the template is made, and waits already when a slot resumes. Its peer is agent.py.
 *
 *     agent PORT...      serves each port in a process of its own; - is its standard input, a socket
 *
 * A message is a letter, a command's number and the length of what follows, both in four bytes, big-endian.
 *     from the controller:  r  run this with /bin/sh       i  its input goes on; nothing: its input ends
 *                           k  kill it                     p  are you there?
 *     to the controller:    o  what it printed             e  what it printed to standard error
 *                           x  how it ended, four bytes    p  here I am
 *                           f  it could not be started: why
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMANDS 16 /* at a time, on one port */
#define PIECE 32768 /* the most that the port takes at once */

struct head {
	char kind;
	uint32_t number;
	uint32_t length;
} __attribute__((packed));

struct command {
	uint32_t number;
	pid_t pid; /* 0: the entry is free */
	bool ended;
	int status;
	int in, out, err; /* -1: closed */
	char *feed;	  /* input that is still to be written */
	size_t fed, length;
	bool last; /* no more input comes */
};

static char *const environment[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"USER=root",
	"LOGNAME=root",
	"SHELL=/bin/bash",
	NULL,
};
static struct command commands[COMMANDS];
static sigset_t unblocked;
static int port;

static void tell(char kind, uint32_t number, const void *content, size_t length)
{
	static char piece[PIECE];
	struct head head = { kind, htonl(number), htonl(length) };
	size_t whole = sizeof(head) + length;

	memcpy(piece, &head, sizeof(head));
	memcpy(piece + sizeof(head), content, length);
	for (size_t sent = 0; sent < whole;) {
		ssize_t written = write(port, piece + sent, whole - sent);

		if (written < 0 && errno != EINTR)
			err(1, "write to the port");
		sent += written > 0 ? written : 0;
	}
}

/* Whether so much came; no, where the controller went away meanwhile. */
static bool take(void *content, size_t length)
{
	for (size_t taken = 0; taken < length;) {
		ssize_t got = read(port, (char *)content + taken, length - taken);

		if (got == 0)
			return false;
		if (got < 0 && errno != EINTR)
			err(1, "read from the port");
		taken += got > 0 ? got : 0;
	}
	return true;
}

static struct command *find(uint32_t number)
{
	for (struct command *command = commands; command < commands + COMMANDS; command++)
		if (command->pid && command->number == number)
			return command;
	return NULL;
}

static void shut(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

static void become(const char *words, int in, int out, int error)
{
	setsid();
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &unblocked, NULL);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(error, 2) < 0)
		_exit(126);
	if (chdir("/root") && chdir("/"))
		_exit(126);
	execle("/bin/sh", "sh", "-c", words, NULL, environment);
	_exit(127);
}

/* Three pipes; none where there is not room for all. */
static bool connect_pipes(int pipes[3][2])
{
	for (int i = 0; i < 3; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) == 0)
			continue;
		while (i--) {
			close(pipes[i][0]);
			close(pipes[i][1]);
		}
		return false;
	}
	return true;
}

static void refuse(uint32_t number)
{
	const char *why = strerror(errno);

	tell('f', number, why, strlen(why));
}

static void start(uint32_t number, const char *words)
{
	struct command *command = commands;
	int pipes[3][2];
	pid_t pid;

	while (command < commands + COMMANDS && command->pid)
		command++;
	errno = EBUSY;
	if (command == commands + COMMANDS || !connect_pipes(pipes)) {
		refuse(number);
		return;
	}
	pid = fork();
	if (pid == 0)
		become(words, pipes[0][0], pipes[1][1], pipes[2][1]);
	if (pid < 0)
		refuse(number);
	close(pipes[0][0]);
	close(pipes[1][1]);
	close(pipes[2][1]);
	*command = (struct command){ number, pid, .in = pipes[0][1], .out = pipes[1][0], .err = pipes[2][0] };
	fcntl(command->in, F_SETFL, O_NONBLOCK);
	if (pid < 0) {
		command->pid = 0;
		shut(&command->in);
		shut(&command->out);
		shut(&command->err);
	}
}

static void stop_feeding(struct command *command)
{
	shut(&command->in);
	free(command->feed);
	command->feed = NULL;
	command->fed = command->length = 0;
}

static void feed(struct command *command)
{
	if (command->in < 0)
		return;
	while (command->fed < command->length) {
		ssize_t written =
			write(command->in, command->feed + command->fed, command->length - command->fed);

		if (written < 0 && errno == EAGAIN)
			return;
		if (written < 0) { /* it does not want more */
			stop_feeding(command);
			return;
		}
		command->fed += written;
	}
	if (command->last)
		stop_feeding(command);
}

static void take_input(struct command *command, char *content, size_t length)
{
	if (command && command->in >= 0) {
		char *more = realloc(command->feed, command->length + length + 1);

		if (more) {
			memcpy(more + command->length, content, length);
			command->feed = more;
			command->length += length;
		}
		command->last = !more || !length;
		feed(command);
	}
}

/* What it leaves behind, in another session say, is not listened to either. */
static void end(struct command *command)
{
	kill(-command->pid, SIGKILL);
	stop_feeding(command);
	shut(&command->out);
	shut(&command->err);
}

/* Takes one message; false where the controller went away. */
static bool obey(void)
{
	struct head head;
	struct command *command;
	char *content;
	bool whole;

	if (!take(&head, sizeof(head)))
		return false;
	content = calloc(ntohl(head.length) + 1, 1);
	if (!content)
		err(1, "a message of %u bytes", ntohl(head.length));
	whole = take(content, ntohl(head.length));
	command = find(ntohl(head.number));
	if (whole && head.kind == 'p')
		tell('p', ntohl(head.number), "", 0);
	else if (whole && head.kind == 'r')
		start(ntohl(head.number), content);
	else if (whole && head.kind == 'i')
		take_input(command, content, ntohl(head.length));
	else if (whole && head.kind == 'k' && command)
		end(command);
	free(content);
	return whole;
}

/* A port without a peer cannot be waited for by poll(), which sees its end again and again. */
static void wait_for_the_controller(void)
{
	struct pollfd there = { port, POLLIN, 0 };
	const struct timespec at_most = { 1, 0 };

	for (struct command *command = commands; command < commands + COMMANDS; command++)
		if (command->pid) {
			end(command);
			command->number = 0; /* which no command of the next controller has */
		}
	fcntl(port, F_SETFL, O_RDWR | O_ASYNC);
	while (poll(&there, 1, 0) == 1 && there.revents & POLLHUP)
		ppoll(NULL, 0, &at_most, &unblocked); /* SIGIO ends it when the controller comes */
	fcntl(port, F_SETFL, O_RDWR);
}

static void pass_on(struct command *command, int *descriptor, char kind)
{
	static char content[PIECE - sizeof(struct head)];
	ssize_t length = read(*descriptor, content, sizeof(content));

	if (length > 0)
		tell(kind, command->number, content, length);
	else if (length == 0 || errno != EINTR)
		shut(descriptor);
}

static void reap(struct command *command)
{
	int status;

	if (!command->ended && waitpid(command->pid, &status, WNOHANG) == command->pid) {
		command->ended = true;
		command->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		stop_feeding(command);
	}
	/* As with ssh: who still holds its output, goes on with it. */
	if (command->ended && command->out < 0 && command->err < 0) {
		uint32_t code = htonl(command->status);

		tell('x', command->number, &code, sizeof(code));
		command->pid = 0;
	}
}

static void serve(void)
{
	struct pollfd all[1 + 3 * COMMANDS];

	for (;;) {
		all[0] = (struct pollfd){ port, POLLIN, 0 };
		for (int i = 0; i < COMMANDS; i++) {
			struct command *command = &commands[i];
			struct pollfd *three = &all[1 + 3 * i];
			bool waits = command->fed < command->length;

			three[0] = (struct pollfd){ command->pid && waits ? command->in : -1, POLLOUT, 0 };
			three[1] = (struct pollfd){ command->pid ? command->out : -1, POLLIN, 0 };
			three[2] = (struct pollfd){ command->pid ? command->err : -1, POLLIN, 0 };
		}
		if (ppoll(all, 1 + 3 * COMMANDS, NULL, &unblocked) < 0)
			memset(all, 0, sizeof(all)); /* a signal: a command has ended */
		for (int i = 0; i < COMMANDS; i++) {
			struct command *command = &commands[i];
			struct pollfd *three = &all[1 + 3 * i];

			if (three[0].revents)
				feed(command);
			if (three[1].revents)
				pass_on(command, &command->out, 'o');
			if (three[2].revents)
				pass_on(command, &command->err, 'e');
			if (command->pid)
				reap(command);
		}
		if (all[0].revents && !obey())
			wait_for_the_controller();
	}
}

static void wake(int number)
{
	(void)number; /* it has ended a ppoll(): that is all */
}

int main(int count, char **arguments)
{
	struct sigaction action = { .sa_handler = wake };
	sigset_t blocked;

	for (int i = 2; i < count; i++)
		if (fork() == 0) {
			arguments[1] = arguments[i];
			break;
		}
	if (strcmp(arguments[1], "-") == 0)
		port = fcntl(0, F_DUPFD_CLOEXEC, 3);
	else
		port = open(arguments[1], O_RDWR | O_CLOEXEC);
	if (port < 0)
		err(1, "%s", arguments[1]);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigaddset(&blocked, SIGIO);
	sigprocmask(SIG_BLOCK, &blocked, &unblocked);
	sigaction(SIGCHLD, &action, NULL);
	sigaction(SIGIO, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	fcntl(port, F_SETOWN, getpid());
	serve();
}
