/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of the kernel as the tracer's parser and printer need, in user space.
 *
 * The Makefile makes a stand-in of this for each header of the kernel that they include, so that their sources are
 * compiled unchanged.
 */
#ifndef FUZZ_KERNEL_H
#define FUZZ_KERNEL_H

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <linux/errno.h>
#include <linux/types.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

typedef struct { __u32 val; } kgid_t;

#define CONFIG_X86_64 1
#define KBUILD_MODNAME "syscall_tracer"
#define __user
#define __rcu
#define __percpu
#define fallthrough __attribute__((fallthrough))
#define likely(x) (x)
#define unlikely(x) (x)
#define NOKPROBE_SYMBOL(function)
#define BIT(n) (1UL << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define READ_ONCE(x) (x)

#define min_t(type, a, b) ((type)(a) < (type)(b) ? (type)(a) : (type)(b))
#define max_t(type, a, b) ((type)(a) > (type)(b) ? (type)(a) : (type)(b))
#define min(a, b) min_t(__typeof__(0 ? (a) : (b)), a, b)
#define max(a, b) max_t(__typeof__(0 ? (a) : (b)), a, b)
#define clamp(x, low, high) min(max(x, low), high)

/* memory: each allocation is counted, and one of them can be made to fail */
#define GFP_KERNEL 0
void *fuzz_alloc(size_t size, bool zero);
void fuzz_free(const void *memory);
void *memdup_user_nul(const void *from, size_t size);
#define kmalloc(size, flags) fuzz_alloc(size, false)
#define kzalloc(size, flags) fuzz_alloc(size, true)
#define kvmalloc(size, flags) fuzz_alloc(size, false)
#define kvzalloc(size, flags) fuzz_alloc(size, true)
#define kfree(memory) fuzz_free(memory)
#define kvfree(memory) fuzz_free(memory)
#define kvfree_rcu(memory, field) fuzz_free(memory)
#define ERR_PTR(error) ((void *)(long)(error))
#define PTR_ERR(pointer) ((long)(pointer))
#define IS_ERR(pointer) ((unsigned long)(pointer) >= (unsigned long)-4095)

/* strings */
#define strscpy(to, from, size) ((void)snprintf(to, size, "%s", from))
int kstrtoint(const char *text, unsigned int base, int *result);
int kstrtouint(const char *text, unsigned int base, unsigned int *result);

/* bitmaps; the fuzzer is not to look for ways through them */
#define UNSEEN __attribute__((no_sanitize("coverage")))
#define BITS_PER_LONG (8 * sizeof(long))
#define DECLARE_BITMAP(name, bits) unsigned long name[(bits) / BITS_PER_LONG]
#define WORDS(bits) ((bits) / BITS_PER_LONG)
#define BUILD_BUG_ON(condition) _Static_assert(!(condition), #condition)
#define U8_MAX 255
#define U32_MAX UINT32_MAX
#define U64_MAX UINT64_MAX
#define bitmap_zero(map, bits) memset(map, 0, (bits) / 8)
#define bitmap_copy(to, from, bits) memcpy(to, from, (bits) / 8)

UNSEEN static inline void __set_bit(unsigned int bit, unsigned long *map)
{
	map[bit / BITS_PER_LONG] |= BIT(bit % BITS_PER_LONG);
}

UNSEEN static inline bool test_bit(unsigned int bit, const unsigned long *map)
{
	return map[bit / BITS_PER_LONG] & BIT(bit % BITS_PER_LONG);
}

UNSEEN static inline void bitmap_or(unsigned long *to, const unsigned long *a, const unsigned long *b, unsigned int bits)
{
	for (size_t i = 0; i < WORDS(bits); i++)
		to[i] = a[i] | b[i];
}

UNSEEN static inline void bitmap_andnot(unsigned long *to, const unsigned long *a, const unsigned long *b, unsigned int bits)
{
	for (size_t i = 0; i < WORDS(bits); i++)
		to[i] = a[i] & ~b[i];
}

UNSEEN static inline unsigned int fuzz_next_bit(const unsigned long *map, unsigned int bits, unsigned int bit)
{
	while (bit < bits && !test_bit(bit, map))
		bit += map[bit / BITS_PER_LONG] ? 1 : BITS_PER_LONG - bit % BITS_PER_LONG;
	return bit;
}

#define for_each_set_bit(bit, map, bits) \
	for ((bit) = fuzz_next_bit(map, bits, 0); (bit) < (bits); (bit) = fuzz_next_bit(map, bits, (bit) + 1))

/* locks: held or not */
struct mutex {
	bool held;
};

#define mutex_lock(mutex) (assert(!(mutex)->held), (void)((mutex)->held = true))
#define mutex_unlock(mutex) (assert((mutex)->held), (void)((mutex)->held = false))
#define lockdep_assert_held(mutex) assert((mutex)->held)
#define lockdep_is_held(mutex) ((mutex)->held)

struct rcu_head {
	int unused;
};

#define rcu_dereference_protected(pointer, held) (assert(held), (pointer))
#define RCU_INIT_POINTER(pointer, value) ((pointer) = (value))
#define rcu_replace_pointer(pointer, value, held)              \
	({                                                     \
		__typeof__(pointer) replaced = (pointer);      \
							       \
		assert(held);                                  \
		(pointer) = (value);                           \
		replaced;                                      \
	})

typedef struct {
	int count;
} refcount_t;

#define refcount_set(r, n) ((void)((r)->count = (n)))
#define refcount_inc(r) (assert((r)->count > 0), (void)(r)->count++)
#define refcount_dec_and_test(r) (assert((r)->count > 0), !--(r)->count)

/* the kernel's log, and who writes */
#define CAP_SYS_ADMIN 21
#define HZ 250
#define DEFINE_RATELIMIT_STATE(name, interval, burst) int name
#define ___ratelimit(state, function) ((void)(state), true)
bool capable(int capability);
__attribute__((format(printf, 1, 2))) void pr_warn(const char *format, ...);

/* text, in a buffer that grows */
struct seq_file {
	char *text;
	size_t size, room;
};

void seq_putc(struct seq_file *m, char c);
void seq_puts(struct seq_file *m, const char *text);
/* Of the kernel's own conversions it knows %pISpc, as the last one. */
void seq_printf(struct seq_file *m, const char *format, ...);

/* sockets: libc's own headers would collide with the kernel's */
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10

struct sockaddr {
	unsigned short sa_family;
	char sa_data[14];
};

struct inode;

#endif
