// SPDX-License-Identifier: GPL-2.0
/* Talking to a server on the same machine: the netlink client, whose interpreter takes long to start. */
#include "helper.h"

#include <sys/socket.h>
#include <sys/un.h>

static int reach(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("talk: no socket: %s", strerror(errno));
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (!connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return fd;
	close(fd);
	return -1;
}

static void say(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n <= 0)
			die("talk: cannot send: %s", strerror(errno));
		text += n;
		len -= n;
	}
	shutdown(fd, SHUT_WR);
}

/* talk SOCKET TEXT: what the server there answers, a status on a line and a text; status -1 if there is none */
void step_talk(const struct step *s)
{
	int fd = reach(s->word[1]);
	struct buffer b = { 0 };
	char *text;

	if (fd < 0) {
		out_long("rc", -1);
		out_string("text", "");
		return;
	}
	say(fd, s->word[2], s->len[2]);
	if (slurp_fd(fd, 65536, &b) < 0)
		die("talk: cannot receive: %s", strerror(errno));
	close(fd);
	text = b.data ? strchr(b.data, '\n') : NULL;
	if (text)
		text++;
	out_long("rc", text ? strtol(b.data, NULL, 10) : 1);
	out_text("text", text ? text : "no answer", text ? b.len - (text - b.data) : strlen("no answer"));
	buffer_free(&b);
}
