/* Services as another user, as pid 1 of namespaces, and where /proc is not ours. */
#include "support/test.h"

#include "support/family.h"
#include "support/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#define PLAIN (SSS_SERVICE_BY_TAG | SSS_SERVICE_BY_DESCENT)

/* A daemonising service comes, is followed, and dies. */
static void daemonise(void *arg)
{
    struct sss_service_params params = service_params(PLAIN, SSS_SERVICE_FORKING);
    struct sss_service *service;
    struct family family;
    struct told told;
    struct loop loop;
    pid_t first, middle, last, pid;

    (void)arg;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&family);
    service = family_start(&family, &loop, &params, &told, &first);
    middle = family_fork(&family, first);
    family_order(&family, middle, "s");
    last = family_fork(&family, middle);
    family_exit(&family, first, 0);
    family_exit(&family, middle, 0);
    family_settle(&family, &loop);
    check_ok(sss_service_main_pid(service, &pid));
    check_int(pid, last);
    check_ok(sss_service_kill(service, NULL, NULL));
    loop_until_dead(&loop, &told);
    check_int(told_times(&told, SSS_SERVICE_ADOPTED, middle), 1);
    check_int(told_times(&told, SSS_SERVICE_ADOPTED, last), 1);
    check_ok(sss_service_free(service));
    loop_end(&loop);
    family_end(&family);
    check_no_children();
}

static void as_we_are(void **state)
{
    (void)state;
    daemonise(NULL);
}

static void become_nobody(void *arg)
{
    check_ok(setresgid(65534, 65534, 65534));
    check_ok(setresuid(65534, 65534, 65534));
    daemonise(arg);
}

static void without_privilege(void **state)
{
    (void)state;
    if (getuid() != 0) {
        test_skip("user", "we are without it in every test");
    }
    in_child(become_nobody, NULL);
}

static void mount_proc(void *arg)
{
    check_ok(mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL));
    check_ok(mount("proc", "/proc", "proc", 0, NULL));
    daemonise(arg);
}

static void as_pid_1(void **state)
{
    (void)state;
    in_pid_namespace(mount_proc, NULL);
}

static void write_to(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    check(fd != -1);
    check_int(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void enter_user_namespace(void *arg)
{
    char map[64];
    uid_t uid = getuid();
    gid_t gid = getgid();

    check_ok(unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS));
    write_to("/proc/self/setgroups", "deny");
    snprintf(map, sizeof(map), "0 %d 1", uid);
    write_to("/proc/self/uid_map", map);
    snprintf(map, sizeof(map), "0 %d 1", gid);
    write_to("/proc/self/gid_map", map);
    in_child(mount_proc, arg);
}

static void try_user_namespace(void *arg)
{
    (void)arg;
    _exit(unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) == 0 ? 0 : 1);
}

static void as_pid_1_of_a_user_namespace(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    check(pid != -1);
    if (pid == 0) {
        try_user_namespace(NULL);
    }
    check_int(waitpid(pid, &status, 0), pid);
    if (status != 0) {
        test_lacks("no user namespace to be had");
    }
    in_child(enter_user_namespace, NULL);
}

/* Where processes cannot be looked at the start is refused, and no process is left. */
static void refused_with(int error)
{
    const char *argv[] = { "true", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_service *service = NULL;
    struct loop loop;

    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    spawn.path = "/bin/true";
    spawn.argv = argv;
    check_int(sss_service_spawn(NULL, loop.ctx, &spawn, NULL, NULL, NULL, &service), error);
    check(service == NULL);
    loop_end(&loop);
    check_int(waitpid(-1, NULL, WNOHANG), -1);
}

static void foreign_proc(void *arg)
{
    (void)arg;
    refused_with(EXDEV);
}

static void proc_of_another_namespace(void **state)
{
    (void)state;
    in_pid_namespace(foreign_proc, NULL);
}

static void hide_proc(void *arg)
{
    (void)arg;
    check_ok(mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL));
    check_ok(mount("none", "/proc", "tmpfs", 0, NULL));
    refused_with(ENOENT);
}

static void without_proc(void **state)
{
    (void)state;
    in_pid_namespace(hide_proc, NULL);
}

/* Evidence that was asked for but is not possible is left out, and that is reported. */
static void no_cgroup(void *arg)
{
    struct sss_service_params params = service_params(PLAIN | SSS_SERVICE_BY_CGROUP, 0);
    struct sss_service_status status = { .size = sizeof(status) };
    struct sss_service *service;
    struct family family;
    struct told told;
    struct loop loop;
    pid_t first;

    (void)arg;
    check_ok(setresgid(65534, 65534, 65534));
    check_ok(setresuid(65534, 65534, 65534));
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&family);
    service = family_start(&family, &loop, &params, &told, &first);
    check_ok(sss_service_status(service, &status));
    check(status.cgroup_errno != 0);
    check_int(status.evidence & SSS_SERVICE_BY_CGROUP, 0);
    check_int(status.evidence & PLAIN, PLAIN);
    family_exit(&family, first, 0);
    loop_until_dead(&loop, &told);
    check_ok(sss_service_free(service));
    params.flags = SSS_SERVICE_EXACT;
    {
        const char *argv[] = { "true", NULL };
        struct sss_spawn spawn = spawn_zero();

        spawn.path = "/bin/true";
        spawn.argv = argv;
        check_int(sss_service_spawn(NULL, loop.ctx, &spawn, &params, NULL, NULL, &service),
                  status.cgroup_errno);
    }
    loop_end(&loop);
    family_end(&family);
    check_no_children();
}

static void without_a_cgroup(void **state)
{
    (void)state;
    if (getuid() != 0) {
        test_skip("user", "needs another user");
    }
    in_child(no_cgroup, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_we_are),
        cmocka_unit_test(without_privilege),
        cmocka_unit_test(as_pid_1),
        cmocka_unit_test(as_pid_1_of_a_user_namespace),
        cmocka_unit_test(proc_of_another_namespace),
        cmocka_unit_test(without_proc),
        cmocka_unit_test(without_a_cgroup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
