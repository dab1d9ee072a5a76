#include "daemon.h"

/* begin */
static int run(const char *command)
{
    char *argv[] = { (char *)"sh", (char *)"-c", (char *)command, NULL };
    int wait_status;
    pid_t pid;

    if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) != 0 ||
        waitpid(pid, &wait_status, 0) == -1) {
        return -1;
    }
    return wait_status;
}
/* end */

int main(void)
{
    printf("%d\n", WEXITSTATUS(run("exit 3")));
    return 0;
}
