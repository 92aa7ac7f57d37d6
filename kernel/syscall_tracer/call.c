// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls: the system calls that were named since load.
 */
#include <linux/string.h>

#include "tracer.h"

/**
 * struct call - a system call
 * @signature: what its arguments are
 * @compat_signature: what a 32-bit program passes to it
 * @name: what users call it
 */
struct call {
	const char *signature;
	const char *compat_signature;
	char name[SCT_WORD_MAX + 1];
};

/*
 * Guarded by sct_lock; but an entry, once there, does not change: for the records
 * that refer to it, it stays until the module goes.
 */
static struct call calls[SCT_CALLS_MAX];
static unsigned int calls_count;

/* Written with sct_lock held, read by anybody. */
static u32 generation;

/**
 * sct_call_find() - look up a call that was named before
 * @name: what users call it
 *
 * Context: Process context, sct_lock held.
 * Return: Its id, or -ENOENT.
 */
int sct_call_find(const char *name)
{
	unsigned int id;

	lockdep_assert_held(&sct_lock);
	for (id = 0; id < calls_count; id++)
		if (!strcmp(calls[id].name, name))
			return id;
	return -ENOENT;
}

/**
 * sct_changed() - take note of a change: of filters, of what is traced, of calls
 *
 * Context: Process context, sct_lock held.
 */
void sct_changed(void)
{
	lockdep_assert_held(&sct_lock);
	WRITE_ONCE(generation, generation + 1);
}

/**
 * sct_generation() - tell whether anything was changed
 *
 * A record is made by a hook that was armed behind the change that named its
 * call, and all CPUs were interrupted for that: who has copied the record sees
 * the change.
 *
 * Context: Any.
 * Return: Another number after each sct_changed().
 */
u32 sct_generation(void)
{
	return READ_ONCE(generation);
}

/**
 * sct_call_add() - take note of a call
 * @name: what users call it; nobody did before
 * @has_compat: 32-bit programs have an entry point of their own to it; else
 *	they share the native one
 *
 * Context: Process context, sct_lock held; there are less than SCT_CALLS_MAX.
 * Return: Its id.
 */
unsigned int sct_call_add(const char *name, bool has_compat)
{
	struct call *call = &calls[calls_count];

	lockdep_assert_held(&sct_lock);
	strscpy(call->name, name, sizeof(call->name));
	call->signature = sct_signature(name);
	call->compat_signature = has_compat ? sct_compat_signature(name) :
					      call->signature;
	sct_changed();
	return calls_count++;
}

/**
 * sct_call_name() - the name of a call
 * @id: from a record
 *
 * Context: Any.
 * Return: The name; it lives as long as the module.
 */
const char *sct_call_name(unsigned int id)
{
	return calls[id].name;
}

/**
 * sct_call_signature() - what the arguments of a call are
 * @id: from a record
 *
 * Context: Any.
 * Return: A letter for each argument, see tracer.h.
 */
const char *sct_call_signature(unsigned int id)
{
	return calls[id].signature;
}

/**
 * sct_call_compat_signature() - what a 32-bit program passes to a call
 * @id: from a record
 *
 * Context: Any.
 * Return: A letter for each register, see tracer.h.
 */
const char *sct_call_compat_signature(unsigned int id)
{
	return calls[id].compat_signature;
}

/**
 * sct_record_signature() - what the arguments in a record are
 * @rec: the record
 *
 * Context: Any.
 * Return: A letter for each register, see tracer.h.
 */
const char *sct_record_signature(const struct sct_record *rec)
{
	return rec->flags & SCT_COMPAT ? sct_call_compat_signature(rec->call) :
					 sct_call_signature(rec->call);
}

/**
 * sct_calls_known() - count the calls that were named since load
 *
 * Context: Process context, sct_lock held.
 * Return: How many; their ids are below it.
 */
unsigned int sct_calls_known(void)
{
	lockdep_assert_held(&sct_lock);
	return calls_count;
}
