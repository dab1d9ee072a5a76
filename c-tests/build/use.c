/* A user of the installed library, built with nothing but pkg-config's flags. */
#include <sss_sigchld.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc != 2 || strcmp(sss_version(), argv[1]) != 0) {
        fprintf(stderr, "the library says it is %s\n", sss_version());
        return 1;
    }
    return 0;
}
