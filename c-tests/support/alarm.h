/* Tells for when the library's timers are set, so that no test measures how late they run
 * out. */
#ifndef SUPPORT_ALARM_H
#define SUPPORT_ALARM_H

#include <stdbool.h>
#include <stdint.h>

/* Whether one of the process's timers is set for at most so many milliseconds from now, or
 * has run out since it was set. Once true it stays true, however slow the machine. */
bool alarm_due_within(int64_t ms);

#endif
