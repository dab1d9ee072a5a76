#define _GNU_SOURCE
#include "support/memory.h"

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "support/check.h"

static _Thread_local struct {
    bool armed;
    unsigned fail_at;
    struct memory seen;
} watched;

void memory_begin(unsigned fail_at)
{
    watched.seen = (struct memory){ 0, 0, 0 };
    watched.fail_at = fail_at;
    watched.armed = true;
}

struct memory memory_end(void)
{
    watched.armed = false;
    return watched.seen;
}

void memory_needed(void)
{
    void *(*volatile allocate)(size_t) = malloc; /* no compiler leaves that out */
    void *block;

    memory_begin(0);
    block = allocate(1);
    if (memory_end().calls == 1) {
        free(block);
        return;
    }
    free(block);
    test_skip("asan tsan valgrind", "malloc is the sanitizer's or valgrind's");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

/* Whether this call may go on. */
static bool allowed(void)
{
    if (!watched.armed) {
        return true;
    }
    watched.seen.calls++;
    if (watched.seen.calls != watched.fail_at) {
        return true;
    }
    watched.seen.failed++;
    errno = ENOMEM;
    return false;
}

static void *took(void *block)
{
    if (watched.armed && block != NULL) {
        watched.seen.bytes += (long)malloc_usable_size(block);
    }
    return block;
}

static void gave(void *block)
{
    if (watched.armed && block != NULL) {
        watched.seen.bytes -= (long)malloc_usable_size(block);
    }
}

void *malloc(size_t size)
{
    return allowed() ? took(__libc_malloc(size)) : NULL;
}

void *calloc(size_t count, size_t size)
{
    return allowed() ? took(__libc_calloc(count, size)) : NULL;
}

void *realloc(void *block, size_t size)
{
    void *moved;

    if (!allowed()) {
        return NULL;
    }
    gave(block);
    moved = __libc_realloc(block, size);
    if (moved == NULL) {
        took(block);
        return NULL;
    }
    return took(moved);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return allowed() ? took(__libc_memalign(alignment, size)) : NULL;
}

void *memalign(size_t alignment, size_t size)
{
    return aligned_alloc(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    void *made = aligned_alloc(alignment, size);

    if (made == NULL) {
        return ENOMEM;
    }
    *block = made;
    return 0;
}

void free(void *block)
{
    int saved = errno;

    gave(block);
    __libc_free(block);
    errno = saved;
}

#endif
