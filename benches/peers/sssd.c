/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * SSSD's scheme, as its monitor has it: a tevent signal handler that calls
 * waitpid(-1) until it finds nothing, a dhash of talloc objects by pid, and a
 * tevent immediate for each callback.
 */
#include "../harness.h"

#include <dhash.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <talloc.h>
#include <tevent.h>

struct sigchld_ctx {
    struct tevent_context *ev;
    hash_table_t *children;
};

typedef void (*child_fn)(int pid, int wait_status, void *pvt);

struct child_ctx {
    struct sigchld_ctx *sigchld_ctx;
    pid_t pid;
    child_fn cb;
    void *pvt;
};

struct invocation {
    struct child_ctx *child_ctx;
    int wait_status;
};

static struct tevent_context *loop;
static struct sigchld_ctx *ctx;
static TALLOC_CTX *daemon_ctx;
/* Those whose watches the daemon may free after the turn. */
static unsigned finished[BENCH_SLOTS_MAX];
static unsigned finished_count;

static hash_key_t child_key(pid_t pid)
{
    hash_key_t key = { .type = HASH_KEY_ULONG, .ul = (unsigned long)pid };

    return key;
}

static void *table_alloc(size_t size, void *pvt)
{
    return talloc_size(pvt, size);
}

static void table_free(void *ptr, void *pvt)
{
    (void)pvt;
    talloc_free(ptr);
}

static int child_destructor(struct child_ctx *child)
{
    hash_key_t key = child_key(child->pid);

    hash_delete(child->sigchld_ctx->children, &key);
    return 0;
}

static void invoke(struct tevent_context *ev, struct tevent_immediate *imm, void *pvt)
{
    struct invocation *call = talloc_get_type(pvt, struct invocation);
    struct child_ctx *child = call->child_ctx;
    hash_key_t key = child_key(child->pid);
    int wait_status = call->wait_status;

    (void)ev;
    talloc_free(imm);
    hash_delete(child->sigchld_ctx->children, &key);
    child->cb(child->pid, wait_status, child->pvt);
}

static int schedule(struct child_ctx *child, int wait_status)
{
    struct tevent_immediate *imm = tevent_create_immediate(child);
    struct invocation *call = talloc_zero(child, struct invocation);

    if (imm == NULL || call == NULL)
        return -1;
    call->child_ctx = child;
    call->wait_status = wait_status;
    tevent_schedule_immediate(imm, child->sigchld_ctx->ev, invoke, call);
    return 0;
}

static void handler(struct tevent_context *ev, struct tevent_signal *se, int signum, int count,
                    void *siginfo, void *pvt)
{
    struct sigchld_ctx *sigchld = talloc_get_type(pvt, struct sigchld_ctx);
    hash_value_t value;
    hash_key_t key;
    int status;
    pid_t pid;

    (void)ev, (void)se, (void)signum, (void)count, (void)siginfo;
    for (;;) {
        do {
            errno = 0;
            pid = waitpid(-1, &status, WNOHANG);
        } while (pid < 0 && errno == EINTR);
        if (pid <= 0)
            return;
        key = child_key(pid);
        if (hash_lookup(sigchld->children, &key, &value) != HASH_SUCCESS)
            bench_error("pid %d is not in the table", (int)pid);
        else if (schedule(talloc_get_type(value.ptr, struct child_ctx), status) < 0)
            bench_error("out of memory");
    }
}

/* The owner frees its watch, but not before its callback has returned. */
static void on_end(int pid, int wait_status, void *pvt)
{
    unsigned slot = (unsigned)(uintptr_t)pvt;

    finished[finished_count++] = slot;
    bench_exit(slot, pid, wait_status);
}

static void free_finished(void)
{
    while (finished_count > 0)
        talloc_free(*bench_kept(finished[--finished_count]));
}

static int sssd_init(void)
{
    loop = tevent_context_init(NULL);
    ctx = talloc_zero(loop, struct sigchld_ctx);
    daemon_ctx = talloc_new(loop);
    if (loop == NULL || ctx == NULL || daemon_ctx == NULL)
        return -1;
    ctx->ev = loop;
    if (hash_create_ex(0, &ctx->children, 0, 0, 0, 0, table_alloc, table_free, ctx, NULL, NULL)
        != HASH_SUCCESS)
        return -1;
    if (tevent_add_signal(loop, ctx, SIGCHLD, SA_SIGINFO, handler, ctx) == NULL)
        return -1;
    return 0;
}

static int sssd_add(pid_t pid, unsigned slot)
{
    struct child_ctx *child = talloc_zero(daemon_ctx, struct child_ctx);
    hash_key_t key = child_key(pid);
    hash_value_t value = { .type = HASH_VALUE_PTR, .ptr = child };

    if (child == NULL)
        return -1;
    child->sigchld_ctx = ctx;
    child->pid = pid;
    child->cb = on_end;
    child->pvt = (void *)(uintptr_t)slot;
    if (hash_enter(ctx->children, &key, &value) != HASH_SUCCESS)
        return -1;
    talloc_set_destructor(child, child_destructor);
    *bench_kept(slot) = child;
    return 0;
}

static int sssd_turn(void)
{
    int ret = tevent_loop_once(loop);

    free_finished();
    return ret;
}

static void sssd_fini(void)
{
    /* In this order: a watch that outlives its table is used after free. */
    talloc_free(daemon_ctx);
    talloc_free(loop);
}

static const char *sssd_version(void)
{
    return "tevent " BENCH_VERSION;
}

const struct bench_subject bench_subject = {
    .name = "sssd",
    .version = sssd_version,
    .init = sssd_init,
    .add = sssd_add,
    .turn = sssd_turn,
    .fini = sssd_fini,
};
