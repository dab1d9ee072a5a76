/* loop_libevent COMMAND [ARGUMENT...]: a child that the library starts, on libevent. */
#include <stdio.h>
#include <sss_sigchld/libevent.h>

static void ended(int pid, int wait_status, void *base)
{
    printf("process %d ended, wait status 0x%04x\n", pid, (unsigned)wait_status);
    event_base_loopbreak((struct event_base *)base);
}

int main(int argc, char **argv)
{
    struct sss_spawn spawn = { .size = sizeof(spawn), .mask = SSS_SPAWN_SEARCH_PATH };
    struct event_base *base = event_base_new();
    struct sss_sigchild_ctx *sigchld;

    if (argc < 2 || base == NULL ||
        sss_libevent_ctx_create(base, SSS_SCOPE_REGISTERED, &sigchld) != 0) {
        return 1;
    }
    spawn.path = argv[1];
    spawn.argv = (const char *const *)(argv + 1);
    if (sss_child_spawn(NULL, sigchld, &spawn, ended, base, NULL) != 0) {
        return 1;
    }
    event_base_dispatch(base);
    sss_sigchld_ctx_free(sigchld);
    event_base_free(base);
    return 0;
}
