/* Services whose processes are helpers/family and obey the test, and the events of these
 * services. */
#ifndef SUPPORT_FAMILY_H
#define SUPPORT_FAMILY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <sss_sigchld.h>

#include "support/loop.h"

#define MOST_EXITS 256u

/* Where the processes of a test report to. */
struct family {
    char name[48];
    int fd;
    pid_t exited[MOST_EXITS]; /* the last of those that family_exit() was asked for */
    unsigned exits;
};

void family_begin(struct family *family);
void family_end(struct family *family);

/* Everything told of one service, in order. */
#define MOST_EVENTS 256
struct told {
    struct sss_service_event events[MOST_EVENTS];
    unsigned count;
    unsigned dead;
};
void tell_service(struct sss_service *service, const struct sss_service_event *event, void *pvt);

/* A parameter struct that asks for this evidence. */
struct sss_service_params service_params(uint32_t evidence, uint32_t flags);
/* Starts a family; returns when its first process has reported. */
struct sss_service *family_start(struct family *family, struct loop *loop,
                                 const struct sss_service_params *params, struct told *told,
                                 pid_t *pid);
/* The same with this spawn. */
struct sss_service *family_start_so(struct family *family, struct loop *loop,
                                    struct sss_spawn *spawn,
                                    const struct sss_service_params *params, struct told *told,
                                    pid_t *pid);
/* The same with a callback of the test's own. */
struct sss_service *family_start_telling(struct family *family, struct loop *loop,
                                         struct sss_spawn *spawn,
                                         const struct sss_service_params *params,
                                         sss_service_fn_t fn, void *pvt, pid_t *pid);

/* Sends a process an order of the helper's. */
void family_order(struct family *family, pid_t pid, const char *order);
/* Has it fork; returns the child once that has reported. */
pid_t family_fork(struct family *family, pid_t pid);
/* Has it exit; returns when it is a zombie, or gone. */
void family_exit(struct family *family, pid_t pid, int code);
/* Turns the loop until all that exited and became our children are reaped, and then while
 * there is something to do. If nothing tells of an end, the library finds it by time. */
void family_settle(struct family *family, struct loop *loop);
/* Waits for the next report. */
pid_t family_report(struct family *family);

/* How often this event was told of a process; the index of the first one, or -1. */
unsigned told_times(const struct told *told, uint32_t event, pid_t pid);
int told_at(const struct told *told, uint32_t event, pid_t pid);
/* Turns the loop until DEAD. */
void loop_until_dead(struct loop *loop, const struct told *told);
/* Kills a service until no process is left: on a busy machine a killed process may take
 * longer to end than one call waits. */
void kill_whole(struct sss_service *service, const struct sss_service_kill *how,
                struct sss_service_killed *killed);
/* Prints what was told. */
void told_print(const struct told *told);

/* The state letter of a process in /proc, or 0 where it is gone. */
char process_state(pid_t pid);
void await_gone_or_zombie(pid_t pid);
/* The value of a variable in the environment of a process that is past execve(2). */
void read_variable(pid_t pid, const char *name, char *value, size_t size);
/* Waits until it has a child, and returns the first. */
pid_t await_child_of(pid_t pid);

#endif
