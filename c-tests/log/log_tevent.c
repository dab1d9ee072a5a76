/* pkgs: talloc tevent */
/* A log with talloc and tevent: an object of its parent's, told by the loop. */
#include "support/test.h"

#include <sss_sigchld/sssd.h>

#include <pthread.h>

#include "log/bed.h"

static int turns_setup(void **state)
{
    struct bed *bed = calloc(1, sizeof(*bed));

    check(bed != NULL);
    strcpy(bed->dir, "/tmp/sss_log_XXXXXX");
    check(mkdtemp(bed->dir) != NULL);
    snprintf(bed->path, sizeof(bed->path), "%s/log", bed->dir);
    *state = bed;
    return 0;
}

static int turns_teardown(void **state)
{
    struct bed *bed = *state;

    await(count_threads() == 1);
    check_ok(unlink(bed->path) | rmdir(bed->dir));
    free(bed);
    return 0;
}

static void told_by_the_loop_and_freed_with_the_parent(void **state)
{
    struct bed *bed = *state;
    TALLOC_CTX *mem = talloc_new(NULL), *parent = talloc_new(mem);
    struct tevent_context *ev = tevent_context_init(mem);
    struct sss_log_params params = log_params(bed);
    struct told *told = calloc(1, sizeof(*told));
    struct sss_sigchild_ctx *ctx;
    struct sss_log *log;
    int fd;

    check(mem != NULL && parent != NULL && ev != NULL && told != NULL);
    check_ok(sss_sigchld_init(mem, ev, &ctx));
    params.event_fn = tell;
    params.pvt = told;
    check_ok(sss_log_open(parent, ctx, &params, &log));
    check_ok(strcmp(talloc_get_name(log), "struct sss_log"));
    check(talloc_parent(log) == parent);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\n");
    check_ok(close(fd));
    while (told->drained == 0) {
        check_ok(tevent_loop_once(ev));
    }
    flush_log(log);
    check_ok(talloc_free(parent));
    check_log(bed, "one\n");
    check_ok(talloc_free(mem));
    free(told);
}

static void *in_a_thread(void *arg)
{
    struct sss_log_stats stats = { .size = sizeof(stats) };

    check_int(sss_log_stats(arg, &stats), EPERM);
    check_int(sss_log_free(arg), EPERM);
    return NULL;
}

static void another_thread_may_not(void **state)
{
    struct bed *bed = *state;
    TALLOC_CTX *mem = talloc_new(NULL);
    struct tevent_context *ev = tevent_context_init(mem);
    struct sss_log_params params = log_params(bed);
    struct sss_sigchild_ctx *ctx;
    struct sss_log *log;
    pthread_t thread;

    check(mem != NULL && ev != NULL);
    check_ok(sss_sigchld_init(mem, ev, &ctx));
    check_ok(sss_log_open(NULL, ctx, &params, &log));
    check_ok(pthread_create(&thread, NULL, in_a_thread, log));
    check_ok(pthread_join(thread, NULL));
    check_ok(sss_log_free(log));
    check_ok(talloc_free(mem));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(told_by_the_loop_and_freed_with_the_parent, turns_setup,
                                        turns_teardown),
        cmocka_unit_test_setup_teardown(another_thread_may_not, turns_setup, turns_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
