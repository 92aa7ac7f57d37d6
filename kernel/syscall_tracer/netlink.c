// SPDX-License-Identifier: GPL-2.0-only
/*
 * The netlink family: status, calls and filters, to read and to change.
 *
 * kernel/specs/syscall_tracer.yaml describes it.
 */
#include <linux/build_bug.h>
#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netlink.h>
#include <linux/notifier.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "hook.h"
#include "left_out.h"
#include "netlink.h"
#include "ring.h"

static_assert(SCT_VERDICT_ALLOW == SCT_ALLOWED);
static_assert(SCT_VERDICT_BLOCK == SCT_BLOCKED);

#if COMPAT_TELLS_OF_JOINING
static int on_join(int group)
{
	sct_deliver_joins();
	return 0;
}
#endif

/* In the initial network namespace only: what is shown is of all others too. */
static struct genl_family family __ro_after_init = {
	.name		= SCT_FAMILY_NAME,
	.version	= SCT_FAMILY_VERSION,
	.module		= THIS_MODULE,
	.parallel_ops	= true,
	.ops		= sct_nl_ops,
	.n_ops		= ARRAY_SIZE(sct_nl_ops),
	.mcgrps		= sct_nl_groups,
	.n_mcgrps	= COMPAT_MCAST_GROUPS(ARRAY_SIZE(sct_nl_groups)),
#if COMPAT_TELLS_OF_JOINING
	.bind		= on_join,
#endif
};

/* The text must be there as long as the module is. */
static void explain(const struct genl_info *info, const char *reason)
{
	if (info->extack && reason)
		info->extack->_msg = reason;
}

/*
 * As on the file: see sct_may_read(). CAP_NET_ADMIN, which is usual here, says
 * nothing of what one may see of others.
 */
static bool may_read(const struct sk_buff *request)
{
	return netlink_capable(request, CAP_PERFMON) ||
	       netlink_capable(request, CAP_SYS_ADMIN);
}

/* As on the file, see sct_command_write(). */
static int transact(const struct sk_buff *request, struct genl_info *info,
		    int (*change)(struct sct_stage *stage,
				  struct genl_info *info))
{
	struct sct_stage stage;
	int err;

	if (!netlink_capable(request, CAP_SYS_ADMIN)) {
		explain(info, "it takes CAP_SYS_ADMIN");
		return -EPERM;
	}
	err = sct_stage_begin(&stage);

	if (!err)
		err = sct_stage_end(&stage, change(&stage, info));
	if (err)
		explain(info, stage.reason);
	return err;
}

static int put_settings(struct sk_buff *skb, const struct sct_stats *stats)
{
	u32 mode = stats->enforcing ? SCT_MODE_ENFORCING : SCT_MODE_PERMISSIVE;

	return nla_put_string(skb, SCT_A_STATUS_VERSION, THIS_MODULE->version) ||
	       nla_put_u32(skb, SCT_A_STATUS_ENTRIES,
			   sct_ring_size(raw_cpu_ptr(&sct_rings))) ||
	       nla_put_u32(skb, SCT_A_STATUS_DATA_BYTES, sct_data_bytes) ||
	       nla_put_u32(skb, SCT_A_STATUS_MODE, mode) ||
	       nla_put_u8(skb, SCT_A_STATUS_RETURNS, stats->records_returns) ||
	       nla_put_u32(skb, SCT_A_STATUS_GENERATION, sct_generation()) ||
	       nla_put_string(skb, SCT_A_STATUS_HOOK, sct_hook_name());
}

static int put_count(struct sk_buff *skb, int type, u64 count)
{
	return nla_put_u64_64bit(skb, type, count, SCT_A_STATUS_PAD);
}

static int put_log(struct sk_buff *skb, const struct sct_ring_stats *log)
{
	return put_count(skb, SCT_A_STATUS_ISSUED, log->issued) ||
	       put_count(skb, SCT_A_STATUS_LOGGED, log->logged) ||
	       put_count(skb, SCT_A_STATUS_OVERWRITTEN, log->overwritten) ||
	       put_count(skb, SCT_A_STATUS_DROPPED, log->dropped);
}

static int put_left_out(struct sk_buff *skb, const struct sct_stats *stats)
{
	pid_t pids[SCT_LEFT_OUT_MAX];
	unsigned int i, n = sct_left_out_pids(pids);
	int err = put_count(skb, SCT_A_STATUS_EXCLUDED, stats->log.excluded);

	for (i = 0; i < n && !err; i++)
		err = nla_put_u32(skb, SCT_A_STATUS_LEFT_OUT, pids[i]);
	return err;
}

static int put_hooks(struct sk_buff *skb, const struct sct_stats *stats)
{
	const struct sct_return_stats *returns = &stats->returns;

	return put_count(skb, SCT_A_STATUS_MISSED, stats->missed) ||
	       put_count(skb, SCT_A_STATUS_IN_FLIGHT, returns->in_flight) ||
	       put_count(skb, SCT_A_STATUS_ORPHANED, returns->orphaned) ||
	       put_count(skb, SCT_A_STATUS_RETURNS_MISSED, returns->missed);
}

static int put_status(struct sk_buff *skb)
{
	struct sct_stats *stats = sct_stats_take();
	int err;

	if (!stats)
		return -ENOMEM;
	err = put_settings(skb, stats) || put_log(skb, &stats->log) ||
	      put_hooks(skb, stats) || put_left_out(skb, stats) ?
	      -EMSGSIZE : 0;
	kvfree(stats);
	return err;
}

int sct_nl_status_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sk_buff *reply;
	void *message;
	int err;

	if (!may_read(skb))
		return -EPERM;
	reply = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!reply)
		return -ENOMEM;
	sct_deliver_look();
	message = genlmsg_put_reply(reply, info, &family, 0,
				    SCT_CMD_STATUS_GET);
	err = message ? put_status(reply) : -EMSGSIZE;
	if (err) {
		nlmsg_free(reply);
		return err;
	}
	genlmsg_end(reply, message);
	return genlmsg_reply(reply, info);
}

/* Begins one message of a dump; NULL if there is no room for it. */
static void *begin_part(struct sk_buff *skb, struct netlink_callback *cb, u8 cmd)
{
	return genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
			   &family, NLM_F_MULTI, cmd);
}

/* Ends the message, or takes it back where @err says that it did not fit. */
static bool end_part(struct sk_buff *skb, void *message, int err)
{
	if (err) {
		genlmsg_cancel(skb, message);
		return false;
	}
	genlmsg_end(skb, message);
	return true;
}

static int put_cpu_count(struct sk_buff *skb, int type, u64 count)
{
	return nla_put_u64_64bit(skb, type, count, SCT_A_CPU_PAD);
}

static bool put_ring(struct sk_buff *skb, struct netlink_callback *cb,
		     unsigned int cpu, const struct sct_ring_stats *stats)
{
	void *message = begin_part(skb, cb, SCT_CMD_CPU_GET);

	if (!message)
		return false;
	return end_part(skb, message,
			nla_put_u32(skb, SCT_A_CPU_CPU, cpu) ||
			put_cpu_count(skb, SCT_A_CPU_ISSUED, stats->issued) ||
			put_cpu_count(skb, SCT_A_CPU_LOGGED, stats->logged) ||
			put_cpu_count(skb, SCT_A_CPU_OVERWRITTEN,
				      stats->overwritten) ||
			put_cpu_count(skb, SCT_A_CPU_DROPPED, stats->dropped) ||
			put_cpu_count(skb, SCT_A_CPU_EXCLUDED,
				      stats->excluded));
}

int sct_nl_cpu_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	unsigned int cpu;

	if (!may_read(cb->skb))
		return -EPERM;
	for (cpu = cb->args[0]; cpu < nr_cpu_ids; cpu++) {
		struct sct_ring_stats stats;

		if (!cpu_possible(cpu))
			continue;
		sct_ring_stats(cpu, &stats);
		if (!cpu_online(cpu) && !stats.issued)
			continue;
		if (!put_ring(skb, cb, cpu, &stats))
			break;
	}
	cb->args[0] = cpu;
	return skb->len;
}

static int put_call_count(struct sk_buff *skb, int type, u64 count)
{
	return nla_put_u64_64bit(skb, type, count, SCT_A_CALL_PAD);
}

static int put_call_counts(struct sk_buff *skb, unsigned int id)
{
	struct sct_counts counts;

	sct_points_counts(id, &counts);
	return put_call_count(skb, SCT_A_CALL_MISSED, sct_points_missed(id)) ||
	       put_call_count(skb, SCT_A_CALL_ISSUED, counts.issued) ||
	       put_call_count(skb, SCT_A_CALL_BLOCKED, counts.blocked) ||
	       put_call_count(skb, SCT_A_CALL_FAILED, counts.failed);
}

static bool put_call(struct sk_buff *skb, struct netlink_callback *cb,
		     unsigned int id, bool traced)
{
	void *message = begin_part(skb, cb, SCT_CMD_CALL_GET);

	if (!message)
		return false;
	return end_part(skb, message,
			nla_put_u32(skb, SCT_A_CALL_ID, id) ||
			nla_put_string(skb, SCT_A_CALL_NAME,
				       sct_call_name(id)) ||
			nla_put_string(skb, SCT_A_CALL_ARGUMENTS,
				       sct_call_signature(id)) ||
			nla_put_u8(skb, SCT_A_CALL_TRACED, traced) ||
			put_call_counts(skb, id) ||
			nla_put_string(skb, SCT_A_CALL_COMPAT_ARGUMENTS,
				       sct_call_compat_signature(id)));
}

int sct_nl_call_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	DECLARE_BITMAP(traced, SCT_CALLS_MAX);
	unsigned int id;

	if (!may_read(cb->skb))
		return -EPERM;
	mutex_lock(&sct_lock);
	sct_traced(traced);
	for (id = cb->args[0]; id < sct_calls_known(); id++)
		if (!put_call(skb, cb, id, test_bit(id, traced)))
			break;
	mutex_unlock(&sct_lock);
	cb->args[0] = id;
	return skb->len;
}

static int set_calls(struct sct_stage *stage, struct genl_info *info)
{
	const struct nlattr *attr;
	int rem, err, names = 0;
	bool on;

	if (!info->attrs[SCT_A_CALLS_TRACED])
		return sct_refuse(stage, -EINVAL, "traced is missing");
	on = nla_get_u8(info->attrs[SCT_A_CALLS_TRACED]);
	nla_for_each_attr(attr, genlmsg_data(info->genlhdr),
			  genlmsg_len(info->genlhdr), rem) {
		if (nla_type(attr) != SCT_A_CALLS_NAME)
			continue;
		err = sct_stage_trace(stage, nla_data(attr), on);
		if (err)
			return err;
		names++;
	}
	return names ? 0 : sct_refuse(stage, -EINVAL, "a name is missing");
}

int sct_nl_call_set_doit(struct sk_buff *skb, struct genl_info *info)
{
	return transact(skb, info, set_calls);
}

static int put_predicates(struct sk_buff *skb, const struct sct_filter *filter)
{
	return (filter->fields & SCT_IF_PID &&
		nla_put_s32(skb, SCT_A_FILTER_PID, filter->pid)) ||
	       (filter->fields & SCT_IF_UID &&
		nla_put_u32(skb, SCT_A_FILTER_UID, filter->uid)) ||
	       (filter->fields & SCT_IF_COMM &&
		nla_put_string(skb, SCT_A_FILTER_COMM, filter->comm)) ||
	       (filter->fields & SCT_IF_PATH &&
		nla_put_string(skb, SCT_A_FILTER_PATH, filter->path));
}

static bool put_filter(struct sk_buff *skb, struct netlink_callback *cb,
		       const struct sct_filter *filter)
{
	void *message = begin_part(skb, cb, SCT_CMD_FILTER_GET);

	if (!message)
		return false;
	return end_part(skb, message,
			nla_put_string(skb, SCT_A_FILTER_NAME, filter->name) ||
			nla_put_u32(skb, SCT_A_FILTER_VERDICT,
				    filter->status) ||
			(filter->error && nla_put_u32(skb, SCT_A_FILTER_ERRNO,
						      filter->error)) ||
			put_predicates(skb, filter));
}

/* All of them as they are now, however many messages they take. */
int sct_nl_filter_get_start(struct netlink_callback *cb)
{
	if (!may_read(cb->skb))
		return -EPERM;
	mutex_lock(&sct_lock);
	cb->args[0] = (long)sct_filters_get();
	mutex_unlock(&sct_lock);
	return 0;
}

int sct_nl_filter_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	const struct sct_filters *filters = (void *)cb->args[0];
	unsigned int i;

	for (i = cb->args[1]; i < filters->count; i++)
		if (!put_filter(skb, cb, &filters->filter[i]))
			break;
	cb->args[1] = i;
	return skb->len;
}

int sct_nl_filter_get_done(struct netlink_callback *cb)
{
	sct_filters_put((void *)cb->args[0]);
	return 0;
}

/* Copies a text; the policy has seen to it that it fits and is terminated. */
static int read_text(struct sct_stage *stage, const struct nlattr *attr,
		     char *to, size_t size)
{
	ssize_t n = strscpy(to, nla_data(attr), size);

	return n > 0 ? n : sct_refuse(stage, -EINVAL, "a value is missing");
}

static int read_texts(struct sct_stage *stage, struct nlattr **attrs,
		      struct sct_filter *filter)
{
	int n;

	if (attrs[SCT_A_FILTER_COMM]) {
		filter->fields |= SCT_IF_COMM;
		n = read_text(stage, attrs[SCT_A_FILTER_COMM], filter->comm,
			      sizeof(filter->comm));
		if (n < 0)
			return n;
	}
	if (attrs[SCT_A_FILTER_PATH]) {
		filter->fields |= SCT_IF_PATH;
		n = read_text(stage, attrs[SCT_A_FILTER_PATH], filter->path,
			      sizeof(filter->path));
		if (n < 0)
			return n;
		filter->path_len = n;
	}
	return 0;
}

static void read_numbers(struct nlattr **attrs, struct sct_filter *filter)
{
	if (attrs[SCT_A_FILTER_ERRNO])
		filter->error = nla_get_u32(attrs[SCT_A_FILTER_ERRNO]);
	if (attrs[SCT_A_FILTER_PID]) {
		filter->fields |= SCT_IF_PID;
		filter->pid = nla_get_s32(attrs[SCT_A_FILTER_PID]);
	}
	if (attrs[SCT_A_FILTER_UID]) {
		filter->fields |= SCT_IF_UID;
		filter->uid = nla_get_u32(attrs[SCT_A_FILTER_UID]);
	}
}

static int read_filter(struct sct_stage *stage, struct nlattr **attrs,
		       struct sct_filter *filter)
{
	int n;

	if (!attrs[SCT_A_FILTER_NAME])
		return sct_refuse(stage, -EINVAL, "a name is missing");
	if (!attrs[SCT_A_FILTER_VERDICT])
		return sct_refuse(stage, -EINVAL, "a verdict is missing");
	n = read_text(stage, attrs[SCT_A_FILTER_NAME], filter->name,
		      sizeof(filter->name));
	if (n < 0)
		return n;
	filter->status = nla_get_u32(attrs[SCT_A_FILTER_VERDICT]);
	read_numbers(attrs, filter);
	if (filter->error && filter->status != SCT_BLOCKED)
		return sct_refuse(stage, -EINVAL, "an errno is for block");
	return read_texts(stage, attrs, filter);
}

static int stage_filter(struct sct_stage *stage, struct genl_info *info)
{
	struct sct_filter *filter = kzalloc(sizeof(*filter), GFP_KERNEL);
	int err;

	if (!filter)
		return sct_refuse(stage, -ENOMEM, "out of memory");
	err = read_filter(stage, info->attrs, filter);
	if (!err)
		err = sct_stage_filter(stage, filter);
	kfree(filter);
	return err;
}

int sct_nl_filter_add_doit(struct sk_buff *skb, struct genl_info *info)
{
	return transact(skb, info, stage_filter);
}

static int delete_filters(struct sct_stage *stage, struct genl_info *info)
{
	if (!info->attrs[SCT_A_FILTER_NAME])
		return sct_refuse(stage, -EINVAL, "a name is missing");
	return sct_stage_delete(stage, nla_data(info->attrs[SCT_A_FILTER_NAME]));
}

int sct_nl_filter_del_doit(struct sk_buff *skb, struct genl_info *info)
{
	return transact(skb, info, delete_filters);
}

static int clear_filters(struct sct_stage *stage, struct genl_info *info)
{
	return sct_stage_clear(stage);
}

int sct_nl_filter_clear_doit(struct sk_buff *skb, struct genl_info *info)
{
	return transact(skb, info, clear_filters);
}

/* It takes what joining a group takes. */
int sct_nl_leave_out_doit(struct sk_buff *skb, struct genl_info *info)
{
	const struct nlattr *pid = info->attrs[SCT_A_PROCESS_PID];
	int err;

	if (!netlink_capable(skb, CAP_SYS_ADMIN)) {
		explain(info, "it takes CAP_SYS_ADMIN");
		return -EPERM;
	}
	err = sct_left_out_add(pid ? nla_get_u32(pid) : 0, info->snd_portid);
	if (err == -ENOSPC)
		explain(info, "too many processes are left out");
	else if (err == -ESRCH)
		explain(info, "no such process");
	return err;
}

/* Of any netlink socket of any program. */
static int on_release(struct notifier_block *block, unsigned long event,
		      void *data)
{
	const struct netlink_notify *closed = data;

	if (event == NETLINK_URELEASE && closed->protocol == NETLINK_GENERIC &&
	    net_eq(closed->net, &init_net))
		sct_left_out_close(closed->portid);
	return NOTIFY_DONE;
}

static struct notifier_block release_notifier = {
	.notifier_call = on_release,
};

/**
 * sct_netlink_init() - register the family, and begin to deliver
 *
 * Context: Process context, may sleep.
 * Return: 0, or an error.
 */
int sct_netlink_init(void)
{
	int err = netlink_register_notifier(&release_notifier);

	if (err)
		return err;
	sct_deliver_init(&family);
	err = genl_register_family(&family);
	if (err) {
		netlink_unregister_notifier(&release_notifier);
		return err;
	}
	sct_deliver_start();
	return 0;
}

/**
 * sct_netlink_exit() - end the delivery, and unregister the family
 *
 * Waits for operations in flight.
 *
 * Context: Process context, may sleep.
 */
void sct_netlink_exit(void)
{
	sct_deliver_stop();
	genl_unregister_family(&family);
	netlink_unregister_notifier(&release_notifier);
	sct_left_out_exit();
}
