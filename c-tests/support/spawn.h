/* Children that sss_child_spawn() makes, and what they see of themselves. */
#ifndef SUPPORT_SPAWN_H
#define SUPPORT_SPAWN_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <sss_sigchld.h>

#include "support/child.h"
#include "support/loop.h"

/* In the mask of each spawn_zero(): 0, or SSS_SPAWN_FORK. */
extern uint32_t spawn_manner;
int spawn_as_vfork(void **state);
int spawn_as_fork(void **state);

/* Runs the tests in both manners, even if the first fails. Under some profiles both of
 * them fork: see `run`. */
#define RUN_BOTH_MANNERS(tests) \
    (cmocka_run_group_tests(tests, spawn_as_vfork, NULL) \
     + cmocka_run_group_tests(tests, spawn_as_fork, NULL))

/* Where a program of helpers/ is; the caller's to free. */
char *helper_path(const char *name);
/* A program that the library executes itself, as it is installed. */
const char *helper_installed(const char *name);

/* A port of the loopback that is free now, for a daemon. */
int free_port(void);

/* All zero except its size and manner. */
struct sss_spawn spawn_zero(void);
pid_t pid_of(struct sss_child_ctx *child);

/* Spawns helpers/ends, which ends in this way once the gate is open; without a gate at
 * once. */
struct sss_child_ctx *spawn_at(struct sss_sigchild_ctx *ctx, struct gate *gate, int end,
                               sss_child_fn_t cb, void *pvt);
/* The same with the fields of *spawn, but not its descriptor map. */
struct sss_child_ctx *spawn_so_at(struct sss_sigchild_ctx *ctx, struct sss_spawn *spawn,
                                  struct gate *gate, int end, sss_child_fn_t cb, void *pvt);

/* Waits until it is dead. A child that is dead when it is registered is reaped there. */
void await_dead(pid_t pid);

/* What helpers/report wrote of itself: strings one after the other. */
struct report {
    pid_t pid;
    size_t length;
    char text[65536];
};

/* Where a copy of helpers/report is that each user can execute, and its argv. */
const char *report_program(void);
const char *const *report_argv(void);
/* Spawns it (with this path and argv, if the spawn has none), and waits for its end. */
void report_spawned(struct loop *loop, struct sss_spawn *spawn, struct report *report);
/* The same by fork() and execv(), in the test's own environment. */
void report_execed(struct report *report);
/* Empties the file that it writes to. */
void report_clear(void);
/* Reads what a child with this pid, now at its end, has written. */
void report_read(pid_t pid, struct report *report);
/* The value of a key; if the key comes more than once, all values, separated by "|". */
const char *reported(const struct report *report, const char *key);

#define check_reported(report, key, ...) \
    check_reported_at((report), (key), __FILE__, __LINE__, __VA_ARGS__)
void check_reported_at(const struct report *report, const char *key, const char *file, int line,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
