/* Fork servers, and what they launch. */
#ifndef SUPPORT_SERVER_H
#define SUPPORT_SERVER_H

#include <sss_sigchld.h>

#include "support/child.h"
#include "support/loop.h"
#include "support/spawn.h"

/* What a server's event callback was told; pvt of server_told(). */
struct server_events {
    unsigned count; /* of all events */
    unsigned ready;
    unsigned crashed;
    unsigned restarted;
    unsigned stopped;
    struct sss_forksrv_event last;
};
void server_told(struct sss_forksrv *srv, const struct sss_forksrv_event *event, void *pvt);

/* Zeroed but for its size, the helper of this build, and server_told(). */
struct sss_forksrv_params server_zero(uint32_t flags, struct server_events *events);

/* Starts it and waits until it is ready. */
struct sss_forksrv *server_start(struct loop *loop, uint32_t flags, struct server_events *events);
pid_t server_pid(struct sss_forksrv *srv);

/* A copy of the helper that each user can execute. */
const char *server_helper_for_all(void);

/* helpers/ends, which ends so once the gate is open; at once without one. */
struct order {
    struct sss_spawn spawn;
    struct sss_spawn_fd map[2];
    char text[16];
    const char *argv[3];
};
struct sss_spawn *order_ends(struct order *order, struct gate *gate, int end);
struct sss_child_ctx *launch_at(struct sss_forksrv *srv, struct gate *gate, int end,
                                sss_child_fn_t cb, void *pvt);

#endif
