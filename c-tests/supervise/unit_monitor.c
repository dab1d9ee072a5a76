/* profiles: plain: a watchdog of two seconds */
/* examples-c/monitor.c: its services start in order, are restarted when one dies or pings no
 * more, and are stopped in reverse order by SIGINT. */
#include "support/test.h"

#include <fcntl.h>
#include <sys/prctl.h>

int monitor_main(int argc, char **argv);
#define main monitor_main
#define usleep(pause) usleep((pause) / 10) /* pings often, so that a busy machine misses none */
/* Its ten seconds are an hour, so that a busy machine leaves nobody. */
#define sss_supervisor_shutdown(ctx, timeout, cb, pvt) \
    sss_supervisor_shutdown(ctx, 360 * (timeout), cb, pvt)
#include "../../examples-c/monitor.c"
#undef sss_supervisor_shutdown
#undef usleep
#undef main

/* Reads lines until one contains this text, for DEADLINE_MS at most; returns the pid in it. */
static pid_t until_line(FILE *out, const char *text)
{
    char line[256];

    alarm(DEADLINE_MS / 1000);
    while (fgets(line, sizeof(line), out) != NULL) {
        if (strstr(line, text) != NULL) {
            const char *pid = strstr(line, "pid ");

            alarm(0);
            return pid == NULL ? 0 : (pid_t)atoi(pid + 4);
        }
    }
    fail_msg("no line has: %s", text);
    return 0;
}

/* Signals a service; its pid then. On a busy machine it may have been restarted before. */
static pid_t hit(FILE *out, const char *running, pid_t service, int signum)
{
    while (kill(service, signum) != 0) {
        check_int(errno, ESRCH);
        service = until_line(out, running);
    }
    return service;
}

static void three_services(void **state)
{
    pid_t provider, nss, pid;
    int out[2], status;
    FILE *lines;

    (void)state;
    check_ok(pipe2(out, O_CLOEXEC));
    pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        char *argv[] = { "monitor", NULL };

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        _exit(monitor_main(1, argv));
    }
    close(out[1]);
    lines = fdopen(out[0], "r");
    check(lines != NULL);
    provider = until_line(lines, "provider: running");
    check(provider > 0);
    nss = until_line(lines, "nss: running");
    check(nss > 0);
    provider = hit(lines, "provider: running", provider, SIGKILL);
    check(until_line(lines, "provider: running") != provider);
    /* It pings no more. */
    nss = hit(lines, "nss: running", nss, SIGSTOP);
    check(until_line(lines, "nss: running") != nss);
    check_ok(kill(pid, SIGINT));
    until_line(lines, "stopping");
    until_line(lines, "nss: stopped");
    until_line(lines, "provider: stopped");
    check_int(waitpid(pid, &status, 0), pid);
    check_int(status, 0);
    fclose(lines);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_services),
    };

    if (argc > 1) {
        return monitor_main(argc, argv);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
