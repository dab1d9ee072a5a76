/*
 * Counts, and fails, what this thread allocates: the program's own malloc comes
 * before libc's, for the library too.
 */
#ifndef SUPPORT_MEMORY_H
#define SUPPORT_MEMORY_H

struct memory {
    unsigned calls;  /* malloc, calloc, realloc and their like */
    unsigned failed; /* of those, made to fail */
    long bytes;      /* allocated and not freed */
};

/* Skips the test where a sanitizer or valgrind has its own malloc. */
void memory_needed(void);

/* From here to memory_end(); the n-th call fails, for 0 none. */
void memory_begin(unsigned fail_at);
struct memory memory_end(void);

#endif
