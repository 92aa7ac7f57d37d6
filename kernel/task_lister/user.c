// SPDX-License-Identifier: GPL-2.0-only
/*
 * Users: how much of the kernel's memory each holds by open files.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "lister.h"

#define PICTURES_MAX	64

/**
 * struct tl_user - a user that holds a picture
 * @link: in users
 * @uid: who it is
 * @pictures: how many it holds
 */
struct tl_user {
	struct list_head link;
	kuid_t uid;
	unsigned int pictures;
};

static DEFINE_MUTEX(users_lock);
static LIST_HEAD(users);

/* Those that hold something are few: each has an open file half read. */
static struct tl_user *find_or_add(kuid_t uid)
{
	struct tl_user *user;

	lockdep_assert_held(&users_lock);
	list_for_each_entry(user, &users, link)
		if (uid_eq(user->uid, uid))
			return user;
	user = kzalloc(sizeof(*user), GFP_KERNEL_ACCOUNT);
	if (!user)
		return ERR_PTR(-ENOMEM);
	user->uid = uid;
	list_add(&user->link, &users);
	return user;
}

/**
 * tl_user_get() - account for a picture of the user that reads
 *
 * Who may exceed limits is not held to this one.
 *
 * Context: Process context, may sleep.
 * Return: For tl_user_put(); -EMFILE: it holds too many; -ENOMEM.
 */
struct tl_user *tl_user_get(void)
{
	struct tl_user *user;

	mutex_lock(&users_lock);
	user = find_or_add(current_uid());
	if (IS_ERR(user))
		goto out;
	if (user->pictures < PICTURES_MAX || capable(CAP_SYS_RESOURCE))
		user->pictures++;
	else
		user = ERR_PTR(-EMFILE);
out:
	mutex_unlock(&users_lock);
	return user;
}

/**
 * tl_user_put() - a picture is gone
 * @user: from tl_user_get(), or NULL
 *
 * Context: Process context, may sleep.
 */
void tl_user_put(struct tl_user *user)
{
	if (!user)
		return;
	mutex_lock(&users_lock);
	if (!--user->pictures) {
		list_del(&user->link);
		kfree(user);
	}
	mutex_unlock(&users_lock);
}
