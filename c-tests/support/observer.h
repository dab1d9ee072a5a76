/* Counts, by the kernel's records, the processes that are forked below one and end. */
#ifndef SUPPORT_OBSERVER_H
#define SUPPORT_OBSERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "support/records.h"

struct observer {
    struct records records;
    const atomic_int *root; /* the process below which is counted */
    char *ours; /* by pid: alive, and below the root */
    bool complete;
    unsigned long forks, exits;
    unsigned long exits_by_code[256];
};

/* Begins to count, in a thread. *root is 0, and shared with the process that is to be the
 * root, which calls observer_watches_me(). Skips the test where nobody can observe. */
void observer_begin(struct observer *observer, const atomic_int *root);
/* Ends it; nothing is missing if it is complete. */
void observer_end(struct observer *observer);

/* In the root, before it mounts a /proc of its own: what it forks from here on counts. */
void observer_watches_me(atomic_int *root);

#endif
