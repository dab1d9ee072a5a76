/* For when the library's alarms are set, so that no test measures how late they ring. */
#ifndef SUPPORT_ALARM_H
#define SUPPORT_ALARM_H

#include <stdbool.h>
#include <stdint.h>

/* Whether one of the process's timers is set for at most this far ahead, or has run
 * out since it was set. However slow the machine, waiting makes it no less true. */
bool alarm_due_within(int64_t ms);

#endif
