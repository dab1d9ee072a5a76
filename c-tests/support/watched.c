#include "support/watched.h"

#include "support/test.h"

static void told(int pid, int wait_status, void *pvt)
{
    struct watched *watched = pvt;

    check_int(pid, watched->pid);
    check_int(wait_status, status_of(watched->code));
    watched->calls++;
    check_ok(sss_child_free(watched->child));
}

void watched_start(struct sss_sigchild_ctx *ctx, struct watched *watched, int code)
{
    watched->code = code;
    watched->pid = child_at(NULL, code);
    check_ok(sss_child_register(NULL, ctx, watched->pid, told, watched, &watched->child));
}
