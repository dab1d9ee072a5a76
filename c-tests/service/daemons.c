/* profiles: plain: real daemons */
/* Daemons of Debian that put themselves into the background: found, followed, and ended
 * whole; sshd without its logins. */
#include "support/test.h"

#include "support/family.h"
#include "support/spawn.h"

#include <fcntl.h>
#include <sys/stat.h>

struct bed {
    struct loop loop;
    struct told told;
    struct sss_service *service;
    char dir[64];
};

static void run_quietly(const char *command)
{
    check_int(system(command), 0);
}

static void bed_make(struct bed *bed)
{
    memset(bed, 0, sizeof(*bed));
    strcpy(bed->dir, "/tmp/sss-daemons-XXXXXX");
    check(mkdtemp(bed->dir) != NULL);
    check_ok(chmod(bed->dir, 0755));
    loop_start(&bed->loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
}

static void bed_free(struct bed *bed)
{
    char command[128];

    check_ok(sss_service_free(bed->service));
    loop_end(&bed->loop);
    check_no_children();
    snprintf(command, sizeof(command), "rm -rf %s", bed->dir);
    run_quietly(command);
}

static void write_file(const struct bed *bed, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void write_file(const struct bed *bed, const char *name, const char *format, ...)
{
    char path[128];
    va_list args;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", bed->dir, name);
    file = fopen(path, "w");
    check(file != NULL);
    va_start(args, format);
    vfprintf(file, format, args);
    va_end(args);
    check_int(fclose(file), 0);
}

static void need(const char *program)
{
    if (access(program, X_OK) != 0) {
        test_lacks("the daemon is not installed");
    }
}

static void start(struct bed *bed, const char *const argv[], const char *pid_file)
{
    struct sss_service_params params =
        service_params(SSS_SERVICE_BY_TAG | SSS_SERVICE_BY_ENVIRONMENT | SSS_SERVICE_BY_DESCENT,
                       SSS_SERVICE_FORKING);
    struct sss_spawn spawn = spawn_zero();

    params.pid_file = pid_file;
    spawn.path = argv[0];
    spawn.argv = argv;
    check_ok(sss_service_spawn(NULL, bed->loop.ctx, &spawn, &params, tell_service, &bed->told,
                               &bed->service));
}

/* Turns until the main process is known and has this name. */
static pid_t await_main(struct bed *bed, const char *name)
{
    int64_t deadline = now_ms() + 3 * DEADLINE_MS;
    char path[64], text[64];
    pid_t pid = 0;

    for (;;) {
        check_ok(sss_service_main_pid(bed->service, &pid));
        if (pid != 0) {
            FILE *file;

            snprintf(path, sizeof(path), "/proc/%d/comm", pid);
            file = fopen(path, "r");
            if (file != NULL && fgets(text, sizeof(text), file) != NULL
                && strncmp(text, name, strlen(name)) == 0) {
                fclose(file);
                return pid;
            }
            if (file != NULL) {
                fclose(file);
            }
        }
        if (now_ms() > deadline) {
            told_print(&bed->told);
        }
        check(now_ms() < deadline);
        loop_turn(&bed->loop, 50);
    }
}

/* Turns until the daemon has written its pid file: sshd listens before it does, and is
 * known as the main process before it listens. */
static void await_pid_file(struct bed *bed, const char *path)
{
    int64_t deadline = now_ms() + 3 * DEADLINE_MS;

    while (access(path, F_OK) != 0) {
        check(now_ms() < deadline);
        loop_turn(&bed->loop, 50);
    }
}

static size_t processes(struct bed *bed)
{
    size_t count = 0;

    check_ok(sss_service_pids(bed->service, NULL, &count));
    return count;
}

static void end_whole(struct bed *bed)
{
    struct sss_service_killed killed = { .size = sizeof(killed) };

    kill_whole(bed->service, NULL, &killed);
    loop_until_dead(&bed->loop, &bed->told);
    check_int(processes(bed), 0);
    bed_free(bed);
}

static void nginx(void **state)
{
    char conf[128], pid_file[128];
    const char *argv[] = { "/usr/sbin/nginx", "-c", conf, NULL };
    struct bed bed;
    pid_t pid;

    (void)state;
    need(argv[0]);
    bed_make(&bed);
    snprintf(conf, sizeof(conf), "%s/nginx.conf", bed.dir);
    snprintf(pid_file, sizeof(pid_file), "%s/nginx.pid", bed.dir);
    write_file(&bed, "nginx.conf",
               "worker_processes 3; pid %s; error_log %s/error.log; events {}\n"
               "http { access_log off; server { listen 127.0.0.1:%d; } }\n",
               pid_file, bed.dir, free_port());
    start(&bed, argv, pid_file);
    pid = await_main(&bed, "nginx");
    check(told_times(&bed.told, SSS_SERVICE_ADOPTED, pid) == 1);
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (processes(&bed) < 4 && now_ms() < deadline) {
        loop_turn(&bed.loop, 20);
    }
    check_int(processes(&bed), 4);
    /* The master ends alone: the workers are known, but none of them is taken for the main
     * process. */
    check_ok(kill(pid, SIGKILL));
    deadline = now_ms() + DEADLINE_MS;
    while (told_times(&bed.told, SSS_SERVICE_EXITED, pid) == 0 && now_ms() < deadline) {
        loop_turn(&bed.loop, 50);
    }
    check_int(told_times(&bed.told, SSS_SERVICE_EXITED, pid), 1);
    check_int(bed.told.dead, 0);
    check_int(processes(&bed), 3);
    end_whole(&bed);
}

static void redis(void **state)
{
    char port[16], dir[128], pid_file[128];
    const char *argv[] = { "/usr/bin/redis-server", "--port", port, "--bind", "127.0.0.1",
                           "--daemonize", "yes", "--dir", dir, "--pidfile", pid_file,
                           "--save", "", NULL };
    struct bed bed;

    (void)state;
    need(argv[0]);
    bed_make(&bed);
    snprintf(port, sizeof(port), "%d", free_port());
    snprintf(dir, sizeof(dir), "%s", bed.dir);
    snprintf(pid_file, sizeof(pid_file), "%s/redis.pid", bed.dir);
    start(&bed, argv, NULL);
    await_main(&bed, "redis-server");
    check_int(processes(&bed), 1);
    end_whole(&bed);
}

static void dnsmasq(void **state)
{
    char port[32], pid_file[128];
    const char *argv[] = { "/usr/sbin/dnsmasq", "--conf-file=/dev/null", port, pid_file,
                           "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv",
                           "--user=nobody", NULL };
    struct bed bed;

    (void)state;
    need(argv[0]);
    bed_make(&bed);
    snprintf(port, sizeof(port), "--port=%d", free_port());
    snprintf(pid_file, sizeof(pid_file), "--pid-file=%s/dnsmasq.pid", bed.dir);
    start(&bed, argv, NULL);
    await_main(&bed, "dnsmasq");
    end_whole(&bed);
}

static void cron(void **state)
{
    const char *argv[] = { "/usr/sbin/cron", NULL };
    struct bed bed;

    (void)state;
    need(argv[0]);
    if (access("/run/crond.pid", F_OK) == 0 && system("flock -n /run/crond.pid true") != 0) {
        test_lacks("a cron of the system's runs");
    }
    bed_make(&bed);
    start(&bed, argv, NULL);
    await_main(&bed, "cron");
    end_whole(&bed);
    unlink("/run/crond.pid");
}

/* A login as nobody through a real sshd; the daemon is ended and the login lives. */
static void sshd(void **state)
{
    struct sss_service_kill how = { .size = sizeof(how), .signal = SIGKILL,
                                    .flags = SSS_SERVICE_SPARE_LOGINS };
    struct sss_service_killed killed = { .size = sizeof(killed) };
    const char *argv[] = { "/usr/sbin/sshd", "-f", NULL, NULL };
    char conf[128], pid_file[128], command[1024], ready[128];
    int port = free_port();
    struct bed bed;
    pid_t pid, client;

    (void)state;
    need(argv[0]);
    if (access("/usr/bin/ssh", X_OK) != 0 || access("/usr/bin/ssh-keygen", X_OK) != 0) {
        test_lacks("ssh is not installed");
    }
    bed_make(&bed);
    (void)mkdir("/run/sshd", 0755);
    snprintf(command, sizeof(command),
             "cd %s && ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' "
             "-f key && cp key.pub keys && chmod 644 keys && "
             "(id sss-login || useradd -M -d / -p '*' -s /bin/sh sss-login) > /dev/null 2>&1", bed.dir);
    if (system(command) != 0) {
        test_lacks("no user can be made");
    }
    snprintf(pid_file, sizeof(pid_file), "%s/sshd.pid", bed.dir);
    write_file(&bed, "conf",
               "Port %d\nListenAddress 127.0.0.1\nHostKey %s/host\nPidFile %s\nUsePAM no\n"
               "AuthorizedKeysFile %s/keys\nStrictModes no\nPasswordAuthentication no\n",
               port, bed.dir, pid_file, bed.dir);
    snprintf(conf, sizeof(conf), "%s/conf", bed.dir);
    argv[2] = conf;
    start(&bed, argv, pid_file);
    pid = await_main(&bed, "sshd");
    await_pid_file(&bed, pid_file);

    snprintf(ready, sizeof(ready), "%s/ready", bed.dir);
    write_file(&bed, "ready", "%s", "");
    check_ok(chmod(ready, 0666));
    snprintf(command, sizeof(command),
             "exec ssh -n -F /dev/null -i %s/key -o StrictHostKeyChecking=no "
             "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -p %d sss-login@127.0.0.1 "
             "'echo $$ > %s; exec sleep 1000'", bed.dir, port, ready);
    client = fork();
    if (client == 0) {
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(1);
    }
    int64_t deadline = now_ms() + 3 * DEADLINE_MS;
    int login = 0;
    while (login == 0 && now_ms() < deadline) {
        FILE *file = fopen(ready, "r");

        loop_turn(&bed.loop, 50);
        if (file != NULL) {
            if (fscanf(file, "%d", &login) != 1) {
                login = 0;
            }
            fclose(file);
        }
    }
    check(login != 0);
    kill_whole(bed.service, &how, &killed);
    check(killed.spared >= 2);
    loop_settle(&bed.loop);
    check_int(process_state(pid), 0);
    check(process_state(login) != 0 && process_state(login) != 'Z');
    check_int(bed.told.dead, 0);
    check_ok(sss_service_kill(bed.service, NULL, NULL));
    loop_until_dead(&bed.loop, &bed.told);
    check_int(process_state(login), 0);
    check_int(waitpid(client, NULL, 0), client);
    run_quietly("userdel sss-login");
    bed_free(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nginx), cmocka_unit_test(redis), cmocka_unit_test(dnsmasq),
        cmocka_unit_test(cron),  cmocka_unit_test(sshd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
