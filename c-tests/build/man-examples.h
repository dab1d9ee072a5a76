/* What examples of manual pages leave to their reader: the daemon around them. */
#ifndef MAN_EXAMPLES_H
#define MAN_EXAMPLES_H

#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#ifdef MAN_TEVENT
#include <sss_sigchld/sssd.h>
#endif
#include <sss_sigchld.h>

struct service {
    struct sss_sigchild_ctx *sigchld;
    struct sss_child_ctx *child;
};
struct helper {
    struct sss_sigchild_ctx *sigchld;
    struct sss_child_ctx *child;
    int log_fd;
    uid_t uid;
    gid_t gid;
};
struct job {
    struct sss_child_ctx *child;
};
struct site {
    struct sss_service *service;
    pid_t main;
};

extern struct sss_sigchild_ctx *sigchld, *sigchld_ctx;
#ifndef MAN_TEVENT
extern struct sss_sigchild_ctx *ctx;
#endif
extern struct sss_child_ctx *child;
#define log the_log /* not libm's */
extern struct sss_log *log;
extern struct sss_forksrv *server;
extern struct sss_unit_ctx *unit_ctx, *provider_ctx, *responder_ctx;
extern struct service *service;
extern struct helper *helper;
extern struct job *job;
extern struct site *site;
extern struct sss_spawn spawn;
extern const char *const *argv;
extern const struct sss_host my_host;
extern void *my_pool, *my_loop, *base, *state;
extern const char *lines;
extern size_t lines_length;
extern errno_t ret;
extern pid_t pid;
extern int fd;

int service_may_restart(struct service *service, int wait_status);
void service_failed(struct service *service);
void service_exec(struct service *service);
#ifndef DEFINES_service_ended
void service_ended(int pid, int wait_status, void *pvt);
#endif
errno_t write_down(struct service *service);
void helper_ended(int pid, int wait_status, void *pvt);
#ifndef DEFINES_ended
void ended(int pid, int wait_status, void *pvt);
#endif
#ifndef DEFINES_job_ended
void job_ended(struct sss_child_ctx *child, const struct sss_child_event *event, void *pvt);
#endif
void service_told(struct sss_service *service, const struct sss_service_event *event,
                  void *pvt);
void service_told(struct sss_service *service, const struct sss_service_event *event, void *pvt);
void site_restart(struct site *site);
void use(void *pvt, const void *output, size_t length);
void log_error(const char *format, ...);
void log_orphan(void *pvt, int pid, int wait_status);

#ifdef MAN_TEVENT
struct main_ctx {
    struct tevent_context *ev;
    struct sss_sigchild_ctx *sigchld_ctx;
};
struct mt_svc {
    pid_t pid;
    struct sss_child_ctx *child_ctx;
};
extern struct main_ctx *ctx;
extern struct mt_svc *svc;
void restart_service(struct mt_svc *svc);
#endif

#endif
