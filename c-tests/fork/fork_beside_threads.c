/* profiles: all but asan: its allocator's lock stays locked in a child that is forked while another thread holds it */
/*
 * A child that is forked while another thread is inside the library can use the library:
 * locks that the thread held at the fork are free in the child.
 */
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_bool stop;

static int forks(void)
{
    return test_profile_is("plain") ? 2500 : test_profile_is("valgrind") ? 20 : 100;
}

static void drop_message(uint32_t level, const char *message, void *pvt)
{
    (void)level;
    (void)message;
    (void)pvt;
}

static void make_a_context(void *unused)
{
    struct sss_sigchild_ctx *ctx;

    (void)unused;
    check_ok(sss_sigchld_ctx_init(NULL, NULL, 0, &ctx));
    check_ok(sss_sigchld_ctx_free(ctx));
}

/* Each audit has a message: SIGCHLD is ignored. */
static void send_a_message(void *unused)
{
    static struct sss_sigchild_ctx *ctx;
    struct sss_ctx_audit found = { .size = sizeof(found) };

    (void)unused;
    if (ctx == NULL) {
        ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    }
    if (sss_sigchld_ctx_audit(ctx, &found) == ECHILD) {
        ctx = NULL; /* the parent's */
    }
}

static void set_the_log(void *unused)
{
    (void)unused;
    check_ok(sss_sigchld_set_log_fn(drop_message, NULL));
}

static void set_the_host(void *unused)
{
    (void)unused;
    check_ok(sss_host_set_default(NULL));
}

static void in_the_child(int done)
{
    alarm(DEADLINE_MS / 1000); /* ends a child that hangs */
    make_a_context(NULL);
    send_a_message(NULL);
    set_the_log(NULL);
    set_the_host(NULL);
    check_int(write(done, "", 1), 1);
    _exit(0);
}

/* The other thread's context of scope ALL may have waited for it. */
static void fork_one(void)
{
    int done[2];
    pid_t pid;
    char byte;

    check_ok(pipe(done));
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        in_the_child(done[1]);
    }
    check_ok(close(done[1]));
    check_int(read(done[0], &byte, 1), 1); /* 0: it hung */
    check_ok(close(done[0]));
    check(waitpid(pid, NULL, 0) == pid || errno == ECHILD);
}

static void *work(void *pvt)
{
    void (*const *fn)(void *) = pvt;

    while (!atomic_load(&stop)) {
        (*fn)(NULL);
    }
    return NULL;
}

static void beside(void (*busy_with)(void *))
{
    pthread_t thread;
    int i;

    set_the_log(NULL);
    atomic_store(&stop, false);
    check_int(pthread_create(&thread, NULL, work, &busy_with), 0);
    for (i = 0; i < forks(); i++) {
        fork_one();
    }
    atomic_store(&stop, true);
    check_int(pthread_join(thread, NULL), 0);
}

static void contexts_are_made(void **state)
{
    (void)state;
    beside(make_a_context);
}

static void the_host_is_set(void **state)
{
    (void)state;
    beside(set_the_host);
}

static void the_log_is_set(void **state)
{
    (void)state;
    beside(set_the_log);
}

static void messages_come(void **state)
{
    (void)state;
    check(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    beside(send_a_message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contexts_are_made),
        cmocka_unit_test(the_host_is_set),
        cmocka_unit_test(the_log_is_set),
        cmocka_unit_test(messages_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
