/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What every child of every subject does, and the memory that it shares with the
 * harness. The body uses no libc, because it runs in a CLONE_VM child, which has no
 * thread state of its own, and in the static program `spawnee`, for peers that watch
 * only children that they spawn.
 */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <linux/close_range.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

/* A child whose code has this bit kills itself with SIGKILL. */
#define BENCH_CODE_KILLED 0x100u

struct bench_slot {
    uint32_t ready;
    uint32_t gate;
    uint32_t code;
    uint32_t common_gate; /* wait at the common gate, not at the child's own */
    uint32_t next;        /* the slot whose gate this child opens at its end; 0 is none */
    uint32_t spin_ns;     /* life after the gate opened */
    int64_t exit_ns;      /* CLOCK_MONOTONIC, right before the end */

    /* The harness's. */
    int64_t callback_ns;
    int32_t pid;
    uint32_t state;
    void *kept; /* for the subject */
    char pad[8];
};

_Static_assert(sizeof(struct bench_slot) == 64, "a cache line each");

struct bench_shared {
    uint32_t gate;
    uint32_t count;
    char pad[56];
    struct bench_slot slots[];
};

static inline long bench_syscall(long nr, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return ret;
}

static inline int64_t bench_child_clock(void)
{
    struct timespec ts;

    bench_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&ts, 0, 0);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Sets a word that others wait for, and wakes up to `count` of them. */
static inline void bench_gate_open(uint32_t *gate, int count)
{
    __atomic_store_n(gate, 1, __ATOMIC_RELEASE);
    bench_syscall(SYS_futex, (long)gate, FUTEX_WAKE, count, 0);
}

static inline void bench_child_wait(uint32_t *gate)
{
    while (__atomic_load_n(gate, __ATOMIC_ACQUIRE) == 0)
        bench_syscall(SYS_futex, (long)gate, FUTEX_WAIT, 0, 0);
}

static inline __attribute__((noreturn)) void bench_child_body(struct bench_shared *shared,
                                                              struct bench_slot *slot)
{
    int64_t until;

    /* The child's descriptor table: its own, empty, and cheap at any number
     * of the parent's descriptors, as it is after an exec. */
    bench_syscall(SYS_close_range, 0, ~0u, CLOSE_RANGE_UNSHARE, 0);
    bench_syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0);

    bench_gate_open(&slot->ready, 1);

    bench_child_wait(slot->common_gate ? &shared->gate : &slot->gate);

    if (slot->next != 0)
        bench_gate_open(&shared->slots[slot->next].gate, 1);
    until = bench_child_clock() + slot->spin_ns;
    do {
        slot->exit_ns = bench_child_clock();
    } while (slot->exit_ns < until);

    if (slot->code & BENCH_CODE_KILLED)
        bench_syscall(SYS_kill, bench_syscall(SYS_getpid, 0, 0, 0, 0), SIGKILL, 0, 0);
    for (;;)
        bench_syscall(SYS_exit_group, (long)(slot->code & 0xff), 0, 0, 0);
}

#endif
