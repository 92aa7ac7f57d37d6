#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/gcd.h>

/* The first exercise, which no lab asks for. */
int simple_init(void)
{
	printk(KERN_INFO "Loading: gcd %lu\n", gcd(3300, 24));
	return 0;
}

void simple_exit(void)
{
	printk(KERN_INFO "Removing\n");
}

module_init(simple_init);
module_exit(simple_exit);
MODULE_LICENSE("GPL");
