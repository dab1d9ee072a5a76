/*
 * Checks for any thread and process. One that fails ends the test if it runs in the
 * test's own thread. In another thread and in a forked child it ends the process,
 * because cmocka's longjmp would jump into a stack that is not there.
 */
#ifndef SUPPORT_CHECK_H
#define SUPPORT_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* How long to wait for something that has to come, on a busy machine. No test depends on
 * how long it takes. */
#define DEADLINE_MS 60000

#define check(condition) \
    check_at((condition), #condition, __FILE__, __LINE__)
#define check_int(got, wanted) \
    check_int_at((intmax_t)(got), (intmax_t)(wanted), #got, __FILE__, __LINE__)
#define check_ok(call) check_int((call), 0)

void check_at(bool holds, const char *what, const char *file, int line);
void check_int_at(intmax_t got, intmax_t wanted, const char *what, const char *file, int line);

/*
 * Ends the test as skipped, and prints why. `profiles` are names separated by spaces;
 * under any other profile the skip is a failure.
 */
void test_skip(const char *profiles, const char *why) __attribute__((noreturn));

/* The same where the system lacks what the test needs; in CI it is a failure. */
void test_lacks(const char *what) __attribute__((noreturn));

/* Skips the test if an ordinary user runs it, who may not do `what`. */
void needs_root(const char *what);

/* "plain", "user", "valgrind", "asan", "tsan", "linux-5.10", "linux-4.19", "soak". */
bool test_profile_is(const char *name);

/* Runs fn in a forked process and checks that it returns. */
void in_child(void (*fn)(void *arg), void *arg);

/* The same as pid 1 of a new pid namespace; skips the test where none can be had. */
void in_pid_namespace(void (*fn)(void *arg), void *arg);

int64_t now_ms(void);

/* How many descriptors the process has open. */
unsigned count_fds(void);

/* How many threads it has. */
unsigned count_threads(void);

/* Waits until a condition holds, which other threads or processes bring about. */
#define await(condition)                                                              \
    do {                                                                              \
        int64_t end_ = now_ms() + 6 * DEADLINE_MS;                                    \
        while (!(condition)) {                                                        \
            check_at(now_ms() < end_, "in time: " #condition, __FILE__, __LINE__);    \
            usleep(1000);                                                             \
        }                                                                             \
    } while (0)

/* As daemons do: closes all from 3 on but these two, -1 for none. */
void close_all_but(int first, int second);

#endif
