/* ends END: at the end of its standard input exits with the code END, or, if it is
 * negative, kills itself by the signal -END. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int end = argc == 2 ? atoi(argv[1]) : 126;
    char byte;

    while (read(STDIN_FILENO, &byte, 1) == -1 && errno == EINTR) {
    }
    if (end >= 0) {
        return end;
    }
    prctl(PR_SET_DUMPABLE, 0);
    kill(getpid(), -end);
    return 126;
}
