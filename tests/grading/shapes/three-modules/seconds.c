#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/jiffies.h>
#include <linux/uaccess.h>

#define ROOM 128
#define NAME "seconds"

/* A flag ends each read, what is asked for is not looked at, nothing is static. */
ssize_t give(struct file *file, char __user *to, size_t count, loff_t *pos);

unsigned long begun;

static struct proc_ops operations = {
	.proc_read = give,
};

int enter(void)
{
	begun = jiffies;
	proc_create(NAME, 0666, NULL, &operations);
	printk(KERN_INFO "/proc/%s is there\n", NAME);
	return 0;
}

void leave(void)
{
	remove_proc_entry(NAME, NULL);
	printk(KERN_INFO "/proc/%s is gone\n", NAME);
}

ssize_t give(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	static int given;
	char text[ROOM];
	int length;

	if (given) {
		given = 0;
		return 0;
	}
	given = 1;
	length = sprintf(text, "seconds: %lu\n", (jiffies - begun) / HZ);
	copy_to_user(to, text, length);
	return length;
}

module_init(enter);
module_exit(leave);
MODULE_LICENSE("GPL");
