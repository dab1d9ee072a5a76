/* sss_subreaper_enable() sets what the kernel has, and orphans come to the process. */
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/child.h"
#include "support/test.h"

static void set_and_get(void **state)
{
    int enabled = -1, kernels = -1;

    (void)state;
    for (int want = 1; want >= 0; want--) {
        check_int(sss_subreaper_enable(want), 0);
        check_int(prctl(PR_GET_CHILD_SUBREAPER, &kernels, 0, 0, 0), 0);
        check_int(kernels, want);
        check_int(sss_subreaper_is_enabled(&enabled), 0);
        check_int(enabled, want);
    }
    check_int(sss_subreaper_enable(2), EINVAL);
    check_int(sss_subreaper_enable(-1), EINVAL);
    check_int(sss_subreaper_is_enabled(NULL), EINVAL);
}

static void orphans_come(void **state)
{
    int report[2], status;
    pid_t parent, orphan;
    struct gate gate;

    (void)state;
    gate_make(&gate);
    check_int(pipe(report), 0);
    check_int(sss_subreaper_enable(1), 0);
    parent = fork();
    check(parent >= 0);
    if (parent == 0) {
        orphan = child_at(&gate, 7);
        _exit(write(report[1], &orphan, sizeof(orphan)) != sizeof(orphan));
    }
    check_int(read(report[0], &orphan, sizeof(orphan)), sizeof(orphan));
    check_int(waitpid(parent, &status, 0), parent);
    check(is_child(orphan));
    gate_open(&gate);
    check_int(waitpid(orphan, &status, 0), orphan);
    check_int(status, status_of(7));
    check_int(sss_subreaper_enable(0), 0);
    close(report[0]);
    close(report[1]);
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_and_get),
        cmocka_unit_test(orphans_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
