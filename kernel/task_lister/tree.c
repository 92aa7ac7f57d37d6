// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/task_tree: the processes by descent, depth first.
 */
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include "lister.h"

/**
 * DOC: one consistent picture
 *
 * No lock that modules may take keeps processes from forking, exiting and being
 * handed on to a new parent while they are collected. The picture is a tree all
 * the same:
 *
 * - It holds the processes that existed when it was begun, with the first read,
 *   and were still there when the walk by number came to them. One that starts
 *   later is left out, whether the walk would have met it or its number lay
 *   behind already.
 *
 * - A process and its parent are told by struct pid, referenced while the
 *   picture is being made, so that a number that is used again meanwhile joins
 *   nobody to a stranger. A parent is always older than its child: parents are
 *   handed on to ancestors only. So there is no cycle.
 *
 * - Where the parent is not in the picture though it has a number here, it was
 *   reaped before the walk came to it, so the child was handed on since. It is
 *   asked again. The parent it names now existed at the beginning and exists
 *   still, and so is in the picture. A child that cannot answer has itself been reaped,
 *   and is left where its last parent would have been an orphan: with the first
 *   process of the namespace.
 *
 * - A process whose parent has no number here (PID 1, kthreadd, what entered the
 *   namespace from outside) begins a tree of its own.
 *
 * Anybody may read it, and it is kernel memory: it is taken with the first read,
 * not at open, has 24 bytes for each process once it is done, is let go of at
 * the end of the file, and a user can have no more than a few of them.
 *
 * The links are numbers of nodes, children in ascending order because nodes are
 * prepended from the last to the first. The order of the page is found once, by
 * going down, along and up these links: linear in the number of processes and
 * in constant stack, however deep the tree.
 */

#define NOBODY		U32_MAX
#define FIRST_CAPACITY	512
#define INDENTED	64	/* generations that are shown by blanks */

/**
 * struct tree_node - one process of the picture
 * @pid: the process, referenced
 * @parent_pid: its parent, likewise; NULL also if there was none to ask
 * @nr: number of the process
 * @parent: its parent's node, or NOBODY
 * @child: node of its first child, or NOBODY
 * @sibling: node of its parent's next child, or NOBODY
 * @depth: generations above it
 * @comm: command name
 */
struct tree_node {
	struct pid *pid;
	struct pid *parent_pid;
	pid_t nr;
	u32 parent;
	u32 child;
	u32 sibling;
	u32 depth;
	char comm[TASK_COMM_LEN];
};

/**
 * struct tree - a picture that is being made
 * @ns: PID namespace of the procfs mount
 * @nodes: the processes, by ascending number
 * @count: of them
 * @capacity: room in @nodes
 * @root: node of the first process without a parent here, or NOBODY
 */
struct tree {
	struct pid_namespace *ns;
	struct tree_node *nodes;
	u32 count;
	u32 capacity;
	u32 root;
};

/**
 * struct line - one process of a picture that is done
 * @nr: its number
 * @depth: generations above it
 * @comm: command name
 */
struct line {
	pid_t nr;
	u32 depth;
	char comm[TASK_COMM_LEN];
};

/**
 * struct tree_file - what an open file shows
 * @ns: PID namespace of the procfs mount
 * @lines: the picture, while there is one
 * @count: of its lines
 * @user: who has it
 *
 * Positions in the file: 0 is the title, 1 to @count the processes, and @count +
 * 1 what stands below. A picture is there from a read at 0 to the end.
 */
struct tree_file {
	struct pid_namespace *ns;
	struct line *lines;
	u32 count;
	struct tl_user *user;
};

/* Make room for one more, doubling: bounded by the processes there are. */
static int reserve(struct tree *tree)
{
	u32 capacity = max_t(u32, 2 * tree->capacity, FIRST_CAPACITY);
	struct tree_node *nodes;

	if (tree->count < tree->capacity)
		return 0;
	nodes = kvmalloc_array(capacity, sizeof(*nodes), GFP_KERNEL_ACCOUNT);
	if (!nodes)
		return -ENOMEM;
	if (tree->count)
		memcpy(nodes, tree->nodes, tree->count * sizeof(*nodes));
	kvfree(tree->nodes);
	tree->nodes = nodes;
	tree->capacity = capacity;
	return 0;
}

static void add(struct tree *tree, struct task_struct *task, pid_t nr)
{
	struct tree_node *node = &tree->nodes[tree->count];

	rcu_read_lock();
	node->pid = get_pid(task_tgid(task));
	node->parent_pid = get_pid(tl_parent(task));
	rcu_read_unlock();
	if (!node->pid) {
		put_pid(node->parent_pid);
		return;
	}
	node->nr = nr;
	get_task_comm(node->comm, task);
	tree->count++;
}

static int collect_tree(struct tree *tree)
{
	u64 opened = ktime_get_boottime_ns();
	struct task_struct *task;
	int err = 0;
	pid_t nr;

	for (nr = 1; !err && (task = tl_next_process(tree->ns, &nr)); nr++) {
		if (IS_ERR(task))
			return PTR_ERR(task);
		err = reserve(tree);
		if (!err && task->start_boottime <= opened)
			add(tree, task, nr);
		put_task_struct(task);
	}
	return err;
}

/* The node of a process, by bisection, or NOBODY. */
static u32 find(const struct tree *tree, struct pid *pid)
{
	pid_t nr = pid_nr_ns(pid, tree->ns);
	u32 low = 0, high = tree->count;

	while (low < high) {
		u32 middle = low + (high - low) / 2;

		if (tree->nodes[middle].nr < nr)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < tree->count && tree->nodes[low].pid == pid)
		return low;
	return NOBODY;
}

/* The node of the parent that a process has now, or NOBODY. */
static u32 ask_again(const struct tree *tree, const struct tree_node *node)
{
	struct task_struct *task;
	u32 parent = NOBODY;

	rcu_read_lock();
	task = pid_task(node->pid, PIDTYPE_TGID);
	if (task)
		parent = find(tree, tl_parent(task));
	rcu_read_unlock();
	return parent;
}

static u32 find_parent(const struct tree *tree, const struct tree_node *node)
{
	u32 parent;

	if (node->nr == 1)
		return NOBODY;
	if (node->parent_pid && !pid_nr_ns(node->parent_pid, tree->ns))
		return NOBODY;
	parent = find(tree, node->parent_pid);
	if (parent == NOBODY)
		parent = ask_again(tree, node);
	if (parent == NOBODY && tree->nodes[0].nr == 1)
		parent = 0;
	return parent;
}

static void link_nodes(struct tree *tree)
{
	struct tree_node *node;
	u32 *first;
	u32 i;

	for (i = 0; i < tree->count; i++)
		tree->nodes[i].child = NOBODY;
	tree->root = NOBODY;
	for (i = tree->count; i--; ) {
		node = &tree->nodes[i];
		node->parent = find_parent(tree, node);
		first = node->parent == NOBODY ?
			&tree->root : &tree->nodes[node->parent].child;
		node->sibling = *first;
		*first = i;
		cond_resched();
	}
}

/* The node after this one: its first child, or else the next sibling of the
 * nearest that has one, of itself and those above it.
 */
static u32 successor(const struct tree *tree, u32 i)
{
	const struct tree_node *nodes = tree->nodes;

	if (nodes[i].child != NOBODY)
		return nodes[i].child;
	while (i != NOBODY && nodes[i].sibling == NOBODY)
		i = nodes[i].parent;
	return i == NOBODY ? NOBODY : nodes[i].sibling;
}

/* Lays the picture out in the order of the page, and no larger than it is. */
static int lay_out(struct tree *tree, struct tree_file *file)
{
	struct tree_node *nodes = tree->nodes;
	struct line *line;
	u32 i;

	file->lines = kvmalloc_array(max(tree->count, 1U), sizeof(*line),
				     GFP_KERNEL_ACCOUNT);
	if (!file->lines)
		return -ENOMEM;
	line = file->lines;
	for (i = tree->root; i != NOBODY; i = successor(tree, i)) {
		nodes[i].depth = nodes[i].parent == NOBODY ?
				 0 : nodes[nodes[i].parent].depth + 1;
		line->nr = nodes[i].nr;
		line->depth = nodes[i].depth;
		memcpy(line->comm, nodes[i].comm, sizeof(line->comm));
		line++;
		cond_resched();
	}
	file->count = line - file->lines;
	return 0;
}

static void put_pids(struct tree *tree)
{
	u32 i;

	for (i = 0; i < tree->count; i++) {
		put_pid(tree->nodes[i].pid);
		put_pid(tree->nodes[i].parent_pid);
		cond_resched();
	}
}

static int take_picture(struct tree_file *file)
{
	struct tree tree = { .ns = file->ns };
	int err;

	err = collect_tree(&tree);
	if (!err)
		link_nodes(&tree);
	put_pids(&tree);
	if (!err)
		err = lay_out(&tree, file);
	kvfree(tree.nodes);
	return err;
}

static void drop_picture(struct tree_file *file)
{
	kvfree(file->lines);
	file->lines = NULL;
	tl_user_put(file->user);
	file->user = NULL;
}

static int begin_picture(struct tree_file *file)
{
	int err;

	file->user = tl_user_get();
	if (IS_ERR(file->user)) {
		err = PTR_ERR(file->user);
		file->user = NULL;
		return err;
	}
	err = take_picture(file);
	if (err)
		drop_picture(file);
	return err;
}

static void *seek_row(struct tree_file *file, loff_t pos)
{
	if (pos == 0)
		return SEQ_START_TOKEN;
	if (!file->lines)
		return NULL;
	if (pos <= file->count)
		return &file->lines[pos - 1];
	if (pos == file->count + 1)
		return file;
	drop_picture(file);
	return NULL;
}

/* Any read finds its way from the top: to the picture there is, or a new one. */
static void *tree_start(struct seq_file *m, loff_t *pos)
{
	struct tree_file *file = m->private;
	int err = *pos || file->lines ? 0 : begin_picture(file);

	return err ? ERR_PTR(err) : seek_row(file, *pos);
}

static void *tree_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	cond_resched();
	if (fatal_signal_pending(current))
		return ERR_PTR(-EINTR);
	return seek_row(m->private, *pos);
}

static void tree_stop(struct seq_file *m, void *v)
{
}

/* Of a chain of thousands the page would be as many columns wide. */
static void show_depth(struct seq_file *m, u32 depth)
{
	tl_blanks(m, 2 * min_t(size_t, depth, INDENTED));
	if (depth > INDENTED)
		seq_printf(m, "[%u] ", depth);
}

static int tree_show(struct seq_file *m, void *v)
{
	struct tree_file *file = m->private;
	char command[TL_COMMAND_SIZE];
	struct line *line = v;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, TL_TITLE("TASK TREE") "\n");
	} else if (v == file) {
		seq_puts(m, TL_RULE "\n");
		seq_printf(m, "Total processes listed: %u\n", file->count);
	} else {
		tl_escape(command, line->comm);
		show_depth(m, line->depth);
		seq_printf(m, "%s(%d)\n", command, line->nr);
	}
	return 0;
}

/**
 * tl_tree_print() - put the tree of the machine into the kernel's log
 *
 * Context: Process context, may sleep.
 * Return: 0, -ENOMEM, or -EINTR: the caller has been killed.
 */
int tl_tree_print(void)
{
	struct tree_file file = { .ns = &init_pid_ns };
	char command[TL_COMMAND_SIZE];
	int err = take_picture(&file);
	u32 i;

	for (i = 0; !err && i < file.count; i++) {
		const struct line *line = &file.lines[i];

		tl_escape(command, line->comm);
		pr_info(KBUILD_MODNAME ": [%u] %*s%s(%d)\n", line->depth,
			(int)(2 * min_t(u32, line->depth, INDENTED)), "",
			command, line->nr);
		cond_resched();
		if (fatal_signal_pending(current))
			err = -EINTR;
	}
	drop_picture(&file);
	return err;
}

static int tree_release(struct inode *inode, struct file *file)
{
	struct seq_file *m = file->private_data;

	drop_picture(m->private);
	return seq_release_private(inode, file);
}

static int tree_open(struct inode *inode, struct file *file)
{
	static const struct seq_operations ops = {
		.start = tree_start,
		.next = tree_next,
		.stop = tree_stop,
		.show = tree_show,
	};
	struct tree_file *shown;
	int err;

	err = tl_may_open(inode);
	if (err)
		return err;
	shown = __seq_open_private(file, &ops, sizeof(*shown));
	if (!shown)
		return -ENOMEM;
	shown->ns = proc_pid_ns(inode->i_sb);
	return 0;
}

const struct proc_ops tl_tree_ops = {
	.proc_open = tree_open,
	.proc_read_iter = seq_read_iter,
	.proc_lseek = seq_lseek,
	.proc_release = tree_release,
};
