/* What the porting examples have around what they show: two services that end. */
#ifndef PORTING_DAEMON_H
#define PORTING_DAEMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct sss_child_ctx;

struct service {
    pid_t pid;
    struct sss_child_ctx *child;
};

static struct service services[2];
static unsigned services_ended;
static int services_status[2];

static inline void service_ended(struct service *service, int wait_status)
{
    services_status[service - services] = wait_status;
    services_ended++;
}

static inline struct service *service_by_pid(pid_t pid)
{
    for (unsigned i = 0; i < 2; i++) {
        if (services[i].pid == pid) {
            return &services[i];
        }
    }
    return NULL;
}

static inline pid_t start_process(int code)
{
    pid_t pid = fork();

    if (pid == 0) {
        _exit(code);
    }
    return pid;
}

static inline bool services_run(void)
{
    return services_ended < 2;
}

/* Both versions print the same. */
static inline int services_report(void)
{
    for (unsigned i = 0; i < 2; i++) {
        printf("service %u: exit status %d\n", i, WEXITSTATUS(services_status[i]));
    }
    return 0;
}

#endif
