/* Fork servers, and what they launch. */
#ifndef SUPPORT_SERVER_H
#define SUPPORT_SERVER_H

#include <pthread.h>
#include <sss_sigchld.h>

#include "support/child.h"
#include "support/hold.h"
#include "support/loop.h"
#include "support/spawn.h"

/* What a server's event callback was called with; pvt of server_told(). */
struct server_events {
    unsigned count; /* of all events */
    unsigned ready;
    unsigned crashed;
    unsigned restarted;
    unsigned stopped;
    struct sss_forksrv_event last;
};
void server_told(struct sss_forksrv *srv, const struct sss_forksrv_event *event, void *pvt);

/* All zero except its size, the helper of this build, and server_told(). */
struct sss_forksrv_params server_zero(uint32_t flags, struct server_events *events);

pid_t server_pid(struct sss_forksrv *srv);

/* A context of scope REGISTERED, woken by its descriptor, and a server on it. */
struct server_bed {
    struct loop loop;
    struct server_events events;
    struct sss_forksrv *srv;
    struct sss_forksrv_params params;
};
void server_bed_start(struct server_bed *bed);
/* Frees the context; no child may be left. */
void server_bed_stop(struct server_bed *bed);
/* The same as a test's setup and teardown. */
int server_bed_begin(void **state);
int server_bed_end(void **state);
/* Starts the server, and waits until it is ready; events are counted from there. */
void server_start(struct server_bed *bed, uint32_t flags);
/* The same with another callback, and a limit of this many ns for each launch. */
void server_start_with(struct server_bed *bed, uint32_t flags, sss_forksrv_fn_t event,
                       int64_t timeout);
/* Starts it in a new thread, which the caller joins. Two calls of the thread, of the server and
 * of its children are held: returns the listener. */
int server_start_held(struct server_bed *bed, uint32_t flags, sss_forksrv_fn_t event,
                      int64_t timeout, const struct hold holds[2], pthread_t *thread);
/* Stops the server, which has to end with 0, and frees it. */
void server_finish(struct server_bed *bed);
/* The bed and its server, together. */
void server_bed_open(struct server_bed *bed, uint32_t flags);
void server_bed_close(struct server_bed *bed);

/* A copy of the helper that each user can execute. */
const char *server_helper_for_all(void);

/* helpers/ends, which ends in this way once the gate is open; without a gate at once. */
struct order {
    struct sss_spawn spawn;
    struct sss_spawn_fd map[2];
    char text[16];
    const char *argv[3];
};
struct sss_spawn *order_ends(struct order *order, struct gate *gate, int end);
struct sss_child_ctx *launch_at(struct sss_forksrv *srv, struct gate *gate, int end,
                                sss_child_fn_t cb, void *pvt);

/* A thread in sss_forksrv_waitpid(). */
struct waiter {
    pthread_t thread;
    struct sss_forksrv *srv;
    pid_t child, tid;
    unsigned done;
    errno_t ret;
    int status;
};
/* Returns when the thread waits. */
void waiter_begin(struct waiter *waiter, struct sss_forksrv *srv, pid_t child);

/* As report_spawned(), but the server starts it. */
void server_report(struct server_bed *bed, struct sss_spawn *spawn, struct report *report);

/* Fills an environment with long strings: an order that has it does not fit into one message. */
void large_environment(const char **envp, size_t count);

#endif
