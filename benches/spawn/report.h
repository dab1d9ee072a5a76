/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a started child writes to its descriptor 1, first thing. */
#ifndef BENCH_SPAWN_REPORT_H
#define BENCH_SPAWN_REPORT_H

#include <stdint.h>

struct spawn_report {
    uint32_t slot;
    int32_t pid;
    int64_t running_ns; /* CLOCK_MONOTONIC at its first instruction */
};

/* The exit status is the slot; from this value on it says what is wrong. */
#define SPAWN_STATUSES 100
#define SPAWN_STATUS_USAGE 251
#define SPAWN_STATUS_LEAK 252
#define SPAWN_STATUS_WRITE 253

#endif
