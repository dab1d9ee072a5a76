/* A pid namespace in which pids are soon reused. */
#ifndef SUPPORT_SMALL_PIDS_H
#define SUPPORT_SMALL_PIDS_H

#include <stdbool.h>

/* Called in a new namespace of pids and mounts: mounts its /proc, and limits its pids to
 * `largest`. Returns false before Linux 6.14, where the limit is one for the whole machine. */
bool small_pids(int largest);
/* How many processes it has, zombies too. */
unsigned processes_in_namespace(void);

/* Prints their lines of /proc/PID/stat, to find out why a test failed. */
void print_processes(void);

#endif
