/* pkgs: talloc tevent */
/* A callback frees its own watch, the watch's parent, or everything but the loop. */
#include "tevent/bed.h"

struct own {
    void *memory;
    unsigned calls;
    int status;
};

static void free_memory(int pid, int wait_status, void *pvt)
{
    struct own *own = pvt;

    (void)pid;
    own->calls++;
    own->status = wait_status;
    check_ok(talloc_free(own->memory));
}

static void its_handle(struct bed *bed)
{
    struct own own = { .calls = 0 };

    bed_start(bed, SSS_SCOPE_ALL, 0);
    own.memory = bed_watch(bed, bed->mem, child_dead(1), free_memory, &own);
    bed_until(bed, &own.calls, 1);
    bed_settle(bed);
    check_int(own.calls, 1);
    check_int(own.status, status_of(1));
}

static void its_handle_without_a_parent(struct bed *bed)
{
    struct own own = { .calls = 0 };

    bed_start(bed, SSS_SCOPE_ALL, 0);
    own.memory = bed_watch(bed, NULL, child_dead(1), free_memory, &own);
    bed_until(bed, &own.calls, 1);
    bed_settle(bed);
    check_int(own.calls, 1);
}

static void its_handle_s_parent(struct bed *bed)
{
    struct own own = { .calls = 0 };

    bed_start(bed, SSS_SCOPE_ALL, 0);
    own.memory = bed_memory(bed->mem);
    bed_watch(bed, own.memory, child_dead(2), free_memory, &own);
    bed_until(bed, &own.calls, 1);
    bed_settle(bed);
    check_int(own.calls, 1);
    check_int(own.status, status_of(2));
}

/* The context, its handle and others that are due, all below one parent. */
static void everything(struct bed *bed)
{
    struct own own = { .calls = 0 };
    pid_t pids[3];
    size_t i;

    own.memory = bed_memory(bed->mem);
    bed->ctx = bed_ctx(bed, own.memory, SSS_SCOPE_ALL, 0);
    for (i = 0; i < ARRAY_SIZE(pids); i++) {
        pids[i] = child_dead((int)i);
        bed_watch(bed, own.memory, pids[i], free_memory, &own);
    }
    bed_until(bed, &own.calls, 1);
    bed_settle(bed);
    check_int(own.calls, 1);
    for (i = 0; i < ARRAY_SIZE(pids); i++) {
        if (is_child(pids[i])) {
            reap(pids[i], (int)i);
        }
    }
}

int main(void)
{
    static const struct row rows[] = {
        ROW(its_handle),
        ROW(its_handle_without_a_parent),
        ROW(its_handle_s_parent),
        ROW(everything),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
