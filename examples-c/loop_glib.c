/* loop_glib COMMAND [ARGUMENT...]: GLib's g_child_watch_add(), done by the library. */
#include <signal.h>
#include <stdio.h>
#include <sss_sigchld/glib.h>
#include <unistd.h>

static void ended(GPid pid, gint wait_status, gpointer data)
{
    printf("process %d ended, wait status 0x%04x\n", pid, (unsigned)wait_status);
    g_main_loop_quit((GMainLoop *)data);
}

int main(int argc, char **argv)
{
    GMainLoop *loop = g_main_loop_new(NULL, FALSE);
    pid_t pid;

    signal(SIGCHLD, SIG_DFL); /* our parent may have ignored it */
    if (argc < 2 || (pid = fork()) == -1) {
        return 1;
    }
    if (pid == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    if (sss_glib_child_watch_add(pid, ended, loop) != 0) {
        return 1;
    }
    g_main_loop_run(loop);
    g_main_loop_unref(loop);
    return 0;
}
