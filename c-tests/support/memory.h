/*
 * Counts this thread's allocations, and has one fail. The program's own malloc is used
 * in place of libc's, by the library too.
 */
#ifndef SUPPORT_MEMORY_H
#define SUPPORT_MEMORY_H

struct memory {
    unsigned calls;  /* malloc, calloc, realloc and their like */
    unsigned failed; /* of those, made to fail */
    long bytes;      /* allocated and not freed */
};

/* Skips the test under a sanitizer or valgrind, which have a malloc of their own. */
void memory_needed(void);

/* From here to memory_end(); the n-th call fails, for 0 none. */
void memory_begin(unsigned fail_at);
struct memory memory_end(void);

#endif
