/* Counts the processes that are forked below one process and that end, by the kernel's
 * records. */
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

/* Begins to count, in a thread. *root is 0 and in memory that is shared with the root
 * process, which calls observer_watches_me(). Skips the test if there are no records. */
void observer_begin(struct observer *observer, const atomic_int *root);
/* Stops observing. `complete` is set if the observer missed no record. */
void observer_end(struct observer *observer);

/* Called in the root before it mounts a /proc of its own: what it forks from then on is
 * counted. */
void observer_watches_me(atomic_int *root);

#endif
