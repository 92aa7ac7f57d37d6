#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include "time.h"

static ktime_t begun;

static int show(struct seq_file *file, void *unused)
{
	s64 passed = ktime_ms_delta(ktime_get(), begun);

	seq_printf(file, "Loaded for\n%lld.%03lld s\n", passed / 1000, passed % 1000);
	return 0;
}

int time_enter(void)
{
	begun = ktime_get();
	return proc_create_single("seconds", 0444, NULL, show) ? 0 : -ENOMEM;
}

void time_leave(void)
{
	remove_proc_entry("seconds", NULL);
}
