#define _GNU_SOURCE
#include "support/alarm.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "support/check.h"

/* The two calls that set a timer are taken over: the program's own definitions come
 * before libc's. Without a lock, which a fork could copy while it is held. */
enum { MOST = 1024 };

/* When each timer runs out, by its number; 0 where it is not set. */
static _Atomic int64_t of_timerfds[MOST], of_timers[MOST];

static void note(_Atomic int64_t *timer, bool is_absolute, const struct timespec *value)
{
    int64_t ms = (int64_t)value->tv_sec * 1000 + value->tv_nsec / 1000000;

    if (value->tv_sec == 0 && value->tv_nsec == 0) {
        *timer = 0;
    } else {
        *timer = ms + (is_absolute ? 0 : now_ms());
    }
}

int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old)
{
    note(&of_timerfds[(unsigned)fd % MOST], (flags & TFD_TIMER_ABSTIME) != 0, &value->it_value);
    return (int)syscall(SYS_timerfd_settime, fd, flags, value, old);
}

/* A timer_t is the kernel's own number, but for those that start threads. */
int timer_settime(timer_t timer, int flags, const struct itimerspec *value,
                  struct itimerspec *old)
{
    int id = (int)(intptr_t)timer;

    note(&of_timers[(unsigned)id % MOST], (flags & TIMER_ABSTIME) != 0, &value->it_value);
    return (int)syscall(SYS_timer_settime, id, flags, value, old);
}

bool alarm_due_within(int64_t ms)
{
    int64_t latest = now_ms() + ms;
    unsigned i;

    for (i = 0; i < MOST; i++) {
        if ((of_timerfds[i] != 0 && of_timerfds[i] <= latest) ||
            (of_timers[i] != 0 && of_timers[i] <= latest)) {
            return true;
        }
    }
    return false;
}
