/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a daemon would write for itself: pids to slots in an open-addressed
 * table with linear probing and backward-shift deletion, grown at 3/4.
 */
#ifndef BENCH_PIDMAP_H
#define BENCH_PIDMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

struct pidmap_entry {
    pid_t pid; /* 0 is empty */
    unsigned slot;
};

struct pidmap {
    struct pidmap_entry *entries;
    unsigned mask;
    unsigned used;
};

static inline unsigned pidmap_home(const struct pidmap *m, pid_t pid)
{
    return ((uint32_t)pid * 2654435761u >> 7) & m->mask;
}

static inline void pidmap_place(struct pidmap *m, pid_t pid, unsigned slot)
{
    unsigned i = pidmap_home(m, pid);

    while (m->entries[i].pid != 0 && m->entries[i].pid != pid)
        i = (i + 1) & m->mask;
    if (m->entries[i].pid == 0)
        m->used++;
    m->entries[i].pid = pid;
    m->entries[i].slot = slot;
}

static inline int pidmap_grow(struct pidmap *m)
{
    struct pidmap old = *m;
    unsigned size = old.entries ? (old.mask + 1) * 2 : 64, i;

    m->entries = calloc(size, sizeof(*m->entries));
    if (m->entries == NULL) {
        *m = old;
        return -1;
    }
    m->mask = size - 1;
    m->used = 0;
    for (i = 0; old.entries != NULL && i <= old.mask; i++) {
        if (old.entries[i].pid != 0)
            pidmap_place(m, old.entries[i].pid, old.entries[i].slot);
    }
    free(old.entries);
    return 0;
}

static inline int pidmap_add(struct pidmap *m, pid_t pid, unsigned slot)
{
    if (m->entries == NULL || (m->used + 1) * 4 > (m->mask + 1) * 3) {
        if (pidmap_grow(m) < 0)
            return -1;
    }
    pidmap_place(m, pid, slot);
    return 0;
}

static inline bool pidmap_take(struct pidmap *m, pid_t pid, unsigned *slot)
{
    unsigned hole, i;

    if (m->entries == NULL)
        return false;
    hole = pidmap_home(m, pid);
    while (m->entries[hole].pid != pid) {
        if (m->entries[hole].pid == 0)
            return false;
        hole = (hole + 1) & m->mask;
    }
    *slot = m->entries[hole].slot;
    m->used--;
    for (i = (hole + 1) & m->mask; m->entries[i].pid != 0; i = (i + 1) & m->mask) {
        unsigned home = pidmap_home(m, m->entries[i].pid);

        if (((i - home) & m->mask) < ((i - hole) & m->mask))
            continue;
        m->entries[hole] = m->entries[i];
        hole = i;
    }
    m->entries[hole].pid = 0;
    return true;
}

static inline void pidmap_free(struct pidmap *m)
{
    free(m->entries);
    m->entries = NULL;
}

#endif
