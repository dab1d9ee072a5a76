/*
 * Checks that may stand anywhere: one that fails ends the test in the test's
 * own thread, and the process in every other thread and in a forked child,
 * where cmocka's longjmp would go astray.
 */
#ifndef SUPPORT_CHECK_H
#define SUPPORT_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* How long to wait for what is sure to come, on a machine that is busy with other
 * things: a time is never what a test is about. */
#define DEADLINE_MS 60000

#define check(condition) \
    check_at((condition), #condition, __FILE__, __LINE__)
#define check_int(got, wanted) \
    check_int_at((intmax_t)(got), (intmax_t)(wanted), #got, __FILE__, __LINE__)
#define check_ok(call) check_int((call), 0)

void check_at(bool holds, const char *what, const char *file, int line);
void check_int_at(intmax_t got, intmax_t wanted, const char *what, const char *file, int line);

/*
 * Ends the test as skipped, telling why. Under another profile than those that it
 * names, separated by blanks, the skip is a failure.
 */
void test_skip(const char *profiles, const char *why) __attribute__((noreturn));

/* The same where the system lacks what the test needs; in CI it is a failure. */
void test_lacks(const char *what) __attribute__((noreturn));

/* Skips the test where an ordinary user runs it, who may not do `what`. */
void needs_root(const char *what);

/* "plain", "user", "valgrind", "asan", "tsan", "linux-5.10", "linux-4.19", "soak". */
bool test_profile_is(const char *name);

/* Runs fn in a forked process and checks that it comes to its end. */
void in_child(void (*fn)(void *arg), void *arg);

/* The same as pid 1 of a new pid namespace; skips the test where none can be had. */
void in_pid_namespace(void (*fn)(void *arg), void *arg);

int64_t now_ms(void);

/* How many descriptors the process has open. */
unsigned count_fds(void);

#endif
