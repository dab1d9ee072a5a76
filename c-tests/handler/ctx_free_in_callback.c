/* A callback frees the context it is called by. */
#include "support/test.h"

struct whole {
    struct loop *loop;
    struct sss_child_ctx *children[4];
    unsigned calls;
    bool children_first;
};

static void free_children(struct whole *w)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(w->children); i++) {
        check_ok(sss_child_free(w->children[i]));
    }
}

static void free_everything(int pid, int wait_status, void *pvt)
{
    struct whole *w = pvt;

    (void)pid;
    (void)wait_status;
    w->calls++;
    if (w->children_first) {
        free_children(w);
    }
    check_ok(sss_sigchld_ctx_free(w->loop->ctx));
    w->loop->ctx = NULL;
    if (!w->children_first) {
        free_children(w);
    }
}

static void free_with_all_due(struct loop *loop, bool children_first)
{
    struct whole w = { .loop = loop, .children_first = children_first };
    pid_t pids[ARRAY_SIZE(w.children)];
    size_t i;

    for (i = 0; i < ARRAY_SIZE(pids); i++) {
        pids[i] = child_dead(0);
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], free_everything, &w,
                                    &w.children[i]));
    }
    loop_until(loop, &w.calls, 1);
    check_int(w.calls, 1);
    for (i = 0; i < ARRAY_SIZE(pids); i++) {
        if (is_child(pids[i])) {
            reap(pids[i], 0);
        }
    }
}

static void context_first(void **state)
{
    free_with_all_due(*state, false);
}

static void children_first(void **state)
{
    free_with_all_due(*state, true);
}

/* The other context's children are told although the first is gone. */
static void beside_another_context(void **state)
{
    struct loop *loop = *state;
    struct loop other;
    struct seen seen = { 0 };
    struct whole w = { .loop = loop };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(0);
    pid_t live;
    struct gate gate;

    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    live = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, other.ctx, live, see, &seen, &child));
    check_ok(sss_child_register(NULL, loop->ctx, pid, free_everything, &w, &w.children[0]));
    loop_until(loop, &w.calls, 1);
    gate_open(&gate);
    loop_until(&other, &seen.calls, 1);
    check_seen(&seen, live, 1);
    check_ok(sss_child_free(child));
    loop_end(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(context_first),
        EACH_WAY(children_first),
        EACH_WAY(beside_another_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
