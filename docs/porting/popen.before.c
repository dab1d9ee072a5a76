#include "daemon.h"

/* begin */
static int run(const char *command, char *line, int size)
{
    FILE *pipe = popen(command, "r");

    if (pipe == NULL || fgets(line, size, pipe) == NULL) {
        return -1;
    }
    return pclose(pipe);
}
/* end */

int main(void)
{
    char line[16];
    int wait_status = run("echo 42; exit 3", line, sizeof(line));

    printf("%s%d\n", line, WEXITSTATUS(wait_status));
    return 0;
}
