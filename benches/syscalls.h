/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Counts the process's own system calls by number, through perf. */
#ifndef BENCH_SYSCALLS_H
#define BENCH_SYSCALLS_H

#include <stdint.h>

#define SYSCALLS_MAX 512

/* 0, or -1 with the reason in *why. Counts every thread there is now. */
int syscalls_open(const char **why);
void syscalls_begin(void);
/* 0, or -1 when calls were lost. */
int syscalls_end(void);
/* Calls seen between begin and end, all pairs summed; the harness's own taken off. */
const uint64_t *syscalls_counts(void);
const char *syscalls_name(unsigned nr, char buf[16]);

#endif
