/* SPDX-License-Identifier: GPL-2.0-only */
/* Generic netlink, as little of it as these tools need: https://docs.kernel.org/userspace-api/netlink/intro.html */
#ifndef KMODLAB_GENL_H
#define KMODLAB_GENL_H

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GENL_GROUPS 8

struct genl_family {
	int id; /* 0: the kernel has no such family */
	int groups;
	unsigned int group[GENL_GROUPS];
};

static inline int genl_socket(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_GENERIC);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The next attribute, of those that end at `end`, or none. */
static inline struct nlattr *genl_next(struct nlattr *one, char *end)
{
	struct nlattr *next = (void *)((char *)one + NLA_ALIGN(one->nla_len));

	return (char *)next + NLA_HDRLEN <= end && next->nla_len >= NLA_HDRLEN && (char *)next + next->nla_len <= end ?
		       next :
		       NULL;
}

static inline struct nlattr *genl_first(void *begin, char *end)
{
	struct nlattr *one = begin;

	return (char *)one + NLA_HDRLEN <= end && one->nla_len >= NLA_HDRLEN ? one : NULL;
}

#define GENL_DATA(attribute) ((char *)(attribute) + NLA_HDRLEN)
#define GENL_END(attribute) ((char *)(attribute) + (attribute)->nla_len)

static inline void genl_groups(struct genl_family *family, struct nlattr *list)
{
	struct nlattr *each, *one;

	for (each = genl_first(GENL_DATA(list), GENL_END(list)); each; each = genl_next(each, GENL_END(list)))
		for (one = genl_first(GENL_DATA(each), GENL_END(each)); one; one = genl_next(one, GENL_END(each)))
			if (one->nla_type == CTRL_ATTR_MCAST_GRP_ID && family->groups < GENL_GROUPS)
				memcpy(&family->group[family->groups++], GENL_DATA(one), 4);
}

/* Ask the controller for a family. */
static inline struct genl_family genl_find(const char *name)
{
	struct {
		struct nlmsghdr head;
		struct genlmsghdr generic;
		struct nlattr attribute;
		char name[64];
	} request = {
		.head = { .nlmsg_type = GENL_ID_CTRL, .nlmsg_flags = NLM_F_REQUEST },
		.generic = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 },
		.attribute = { .nla_len = NLA_HDRLEN + strlen(name) + 1, .nla_type = CTRL_ATTR_FAMILY_NAME },
	};
	static char answer[1 << 13];
	struct genl_family family = { 0 };
	struct nlattr *one;
	int fd = genl_socket();
	ssize_t got;

	strcpy(request.name, name);
	request.head.nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN + NLA_ALIGN(request.attribute.nla_len);
	if (fd < 0 || send(fd, &request, request.head.nlmsg_len, 0) < 0)
		return family;
	got = recv(fd, answer, sizeof(answer), 0);
	close(fd);
	if (got < NLMSG_HDRLEN || ((struct nlmsghdr *)answer)->nlmsg_type == NLMSG_ERROR)
		return family;
	for (one = genl_first(answer + NLMSG_HDRLEN + GENL_HDRLEN, answer + got); one; one = genl_next(one, answer + got)) {
		if (one->nla_type == CTRL_ATTR_FAMILY_ID)
			family.id = *(unsigned short *)GENL_DATA(one);
		if (one->nla_type == CTRL_ATTR_MCAST_GROUPS)
			genl_groups(&family, one);
	}
	return family;
}

#endif
