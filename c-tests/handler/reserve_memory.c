/* profiles: all but asan tsan valgrind: malloc cannot be taken over */
/* Once room is made, registrations work while each allocation fails. */
#include "support/test.h"

#include "support/memory.h"

enum { MANY = 1000 };

/* Other registrations and reservations in between do not use up the reserved room. */
static void many_need_no_memory_afterwards(void **state)
{
    static struct sss_child_ctx *reserved[MANY], *other[MANY];
    static struct seen seen[MANY], others[MANY];
    static pid_t pids[MANY];
    struct loop *loop = *state;
    struct gate gate;
    int i;

    memory_needed();
    gate_make(&gate);
    memset(seen, 0, sizeof(seen));
    memset(others, 0, sizeof(others));
    for (i = 0; i < MANY; i++) {
        check_ok(sss_child_reserve(NULL, loop->ctx, &reserved[i]));
        if (i % 3 == 0) {
            check_ok(sss_child_register(NULL, loop->ctx, child_at(&gate, 2), see, &others[i],
                                        &other[i]));
        }
    }
    for (i = 0; i < MANY; i++) {
        pids[i] = child_at(&gate, i % 200);
        memory_begin(1);
        check_ok(sss_child_register_reserved(reserved[i], pids[i], see, &seen[i]));
        memory_end();
    }
    gate_open(&gate);
    for (i = 0; i < MANY; i++) {
        loop_until(loop, &seen[i].calls, 1);
        check_seen(&seen[i], pids[i], i % 200);
        check_ok(sss_child_free(reserved[i]));
        if (i % 3 == 0) {
            loop_until(loop, &others[i].calls, 1);
            check_ok(sss_child_free(other[i]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(many_need_no_memory_afterwards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
