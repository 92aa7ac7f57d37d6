// SPDX-License-Identifier: GPL-2.0-only
/*
 * Statistics: what the log kept and lost, and what is traced.
 */
#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/overflow.h>

#include "tracer.h"

static void add_ring(struct sct_stats *stats, unsigned int cpu)
{
	struct sct_ring_stats *ring = &stats->cpu[cpu];

	sct_ring_stats(cpu, ring);
	stats->log.issued += ring->issued;
	stats->log.logged += ring->logged;
	stats->log.overwritten += ring->overwritten;
	stats->log.dropped += ring->dropped;
	stats->log.excluded += ring->excluded;
}

/**
 * sct_stats_take() - take the statistics
 *
 * Those of a CPU are of one moment; the sums are those of the CPUs.
 *
 * Context: Process context, may sleep.
 * Return: The statistics, for kvfree(), or NULL.
 */
struct sct_stats *sct_stats_take(void)
{
	struct sct_stats *stats;
	unsigned int cpu;

	stats = kvzalloc(struct_size(stats, cpu, nr_cpu_ids),
			 GFP_KERNEL_ACCOUNT);
	if (!stats)
		return NULL;
	for_each_possible_cpu(cpu)
		add_ring(stats, cpu);
	mutex_lock(&sct_lock);
	stats->missed = sct_traced_missed();
	stats->records_returns = sct_returns_on();
	stats->enforcing = sct_enforcing();
	sct_traced_returns(&stats->returns);
	sct_traced(stats->traced);
	mutex_unlock(&sct_lock);
	return stats;
}

static void show_counters(struct seq_file *m, const struct sct_stats *stats)
{
	seq_printf(m, "Mode: %s\n", stats->enforcing ? "enforcing" : "permissive");
	seq_printf(m, "Issued: %llu\n", stats->log.issued);
	seq_printf(m, "Logged: %llu\n", stats->log.logged);
	seq_printf(m, "Overwritten: %llu\n", stats->log.overwritten);
	seq_printf(m, "Dropped: %llu\n", stats->log.dropped);
	seq_printf(m, "Missed: %lu\n", stats->missed);
	seq_printf(m, "In flight: %llu\n", stats->returns.in_flight);
	seq_printf(m, "Orphaned: %llu\n", stats->returns.orphaned);
	seq_printf(m, "Returns missed: %llu\n", stats->returns.missed);
	seq_printf(m, "Excluded: %llu\n", stats->log.excluded);
}

static void show_cpus(struct seq_file *m, const struct sct_stats *stats)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		const struct sct_ring_stats *ring = &stats->cpu[cpu];

		if (!cpu_online(cpu) && !ring->issued)
			continue;
		seq_printf(m, "CPU %u: issued %llu logged %llu overwritten %llu dropped %llu excluded %llu\n",
			   cpu, ring->issued, ring->logged, ring->overwritten,
			   ring->dropped, ring->excluded);
	}
}

static void show_traced(struct seq_file *m, const struct sct_stats *stats)
{
	unsigned int id;

	seq_puts(m, "Traced:");
	for_each_set_bit(id, stats->traced, SCT_CALLS_MAX)
		seq_printf(m, " %s", sct_call_name(id));
	seq_putc(m, '\n');
}

/**
 * sct_stats_show() - show the statistics of this moment
 * @m: where to
 * @v: ignored
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int sct_stats_show(struct seq_file *m, void *v)
{
	struct sct_stats *stats = sct_stats_take();

	if (!stats)
		return -ENOMEM;
	show_counters(m, stats);
	show_cpus(m, stats);
	show_traced(m, stats);
	kvfree(stats);
	return 0;
}
