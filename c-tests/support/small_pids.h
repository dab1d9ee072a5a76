/* A pid namespace in which pids come again soon. */
#ifndef SUPPORT_SMALL_PIDS_H
#define SUPPORT_SMALL_PIDS_H

#include <stdbool.h>

/* In a new namespace of pids and mounts: mounts its /proc, and lets no pid be larger.
 * False before Linux 6.14: there the limit is the whole machine's, and is left alone. */
bool small_pids(int largest);
/* How many processes it has, zombies too. */
unsigned processes_in_namespace(void);

/* Their lines of /proc/PID/stat, for who asks why a test failed. */
void print_processes(void);

#endif
