/* The library prints nothing; its messages go to the log callback, with pvt. */
#include "support/test.h"

#include <sys/stat.h>
#include <syslog.h>

struct lines {
    unsigned calls;
    unsigned level;
    char last[256];
};

static void keep(uint32_t level, const char *message, void *pvt)
{
    struct lines *lines = pvt;

    lines->calls++;
    lines->level = level;
    snprintf(lines->last, sizeof(lines->last), "%s", message);
}

/* An unknown child is worth a message. */
static pid_t cause_a_message(struct loop *loop)
{
    pid_t pid = child_dead(1);

    loop_until_reaped(loop, pid);
    return pid;
}

static void one_line_with_the_pid(void **state)
{
    struct loop *loop = *state;
    struct lines lines = { 0 };
    char number[32];
    pid_t pid;

    check_ok(sss_sigchld_set_log_fn(keep, &lines));
    pid = cause_a_message(loop);
    check_ok(sss_sigchld_set_log_fn(NULL, NULL));
    check_int(lines.calls, 1);
    check(lines.level >= LOG_ERR && lines.level <= LOG_DEBUG);
    snprintf(number, sizeof(number), "%d", (int)pid);
    check(strstr(lines.last, number) != NULL);
    check(strchr(lines.last, '\n') == NULL);
    cause_a_message(loop);
    check_int(lines.calls, 1);
}

static void replaced(void **state)
{
    struct loop *loop = *state;
    struct lines former = { 0 }, latter = { 0 };

    check_ok(sss_sigchld_set_log_fn(keep, &former));
    check_ok(sss_sigchld_set_log_fn(keep, &latter));
    cause_a_message(loop);
    check_ok(sss_sigchld_set_log_fn(NULL, NULL));
    check_int(former.calls, 0);
    check_int(latter.calls, 1);
}

static void nothing_is_printed(void **state)
{
    struct loop *loop = *state;
    char path[] = "/tmp/sss_sigchld_log_XXXXXX";
    int saved[] = { dup(STDOUT_FILENO), dup(STDERR_FILENO) };
    int file = mkstemp(path);
    struct stat info;

    check(file != -1 && saved[0] != -1 && saved[1] != -1);
    check_ok(unlink(path));
    fflush(NULL);
    check(dup2(file, STDOUT_FILENO) != -1 && dup2(file, STDERR_FILENO) != -1);
    cause_a_message(loop);
    sss_child_free(NULL);
    sss_child_release(NULL, NULL);
    fflush(NULL);
    check(dup2(saved[0], STDOUT_FILENO) != -1 && dup2(saved[1], STDERR_FILENO) != -1);
    check_ok(fstat(file, &info));
    check_int(info.st_size, 0);
    check_ok(close(file) | close(saved[0]) | close(saved[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL_WAYS(one_line_with_the_pid),
        ALL_WAYS(replaced),
        ALL_WAYS(nothing_is_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
