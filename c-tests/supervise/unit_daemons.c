/* profiles: plain: real daemons */
/* Units of Debian's daemons and of other people's clients of sd_notify(3). */
#include "support/test.h"

#include <sys/stat.h>

#include "support/spawn.h"
#include "support/unit.h"

static char dir[] = "/tmp/sss-unit-daemons-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    check(mkdtemp(dir) != NULL);
    return chmod(dir, 0755);
}

static int remove_dir(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static void needs(const char *program)
{
    char command[128];

    snprintf(command, sizeof(command), "command -v %s > /dev/null", program);
    if (system(command) != 0) {
        test_lacks(program);
    }
}

/* A shell's command as the unit a. */
static struct sss_unit_ctx *add_command(struct bed *bed, struct sss_unit *unit,
                                        const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static struct sss_unit_ctx *add_command(struct bed *bed, struct sss_unit *unit,
                                        const char *format, ...)
{
    char command[1024];
    const char *argv[] = { "sh", "-c", command, NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/sh", .argv = argv };
    struct sss_unit_ctx *ctx;
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    unit->spawn = &spawn;
    ctx = unit_add(bed, unit, ACTIONS("pause"));
    unit->spawn = NULL;
    return ctx;
}

static struct sss_unit started_by(uint32_t mode)
{
    struct sss_unit unit = unit_zero("a");

    unit.mask |= SSS_UNIT_START_MODE | SSS_UNIT_RESTART;
    unit.start_mode = mode;
    unit.restart = SSS_UNIT_RESTART_ALWAYS;
    return unit;
}

static pid_t until_main(struct bed *bed, struct sss_unit_ctx *ctx, pid_t other)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (unit_status(ctx).main_pid == other || unit_status(ctx).main_pid == 0 ||
           unit_status(ctx).state != SSS_UNIT_RUNNING) {
        check(now_ms() < deadline);
        loop_turn(&bed->loop, 10);
    }
    return unit_status(ctx).main_pid;
}

/* Runs, is killed whole although only its main process was, runs again, and stops. */
static void live_twice(struct bed *bed, struct sss_unit_ctx *ctx, unsigned processes)
{
    pid_t main;

    check_ok(sss_supervisor_start(ctx));
    main = until_main(bed, ctx, 0);
    until_processes(bed, ctx, processes);
    check_ok(kill(main, SIGKILL));
    check(until_main(bed, ctx, main) != main);
    until_processes(bed, ctx, processes);
    check_int(unit_status(ctx).starts, 2);
    unit_stop(bed, ctx);
}

static void nginx(void **state)
{
    struct bed bed;
    char path[64];
    FILE *file;

    (void)state;
    needs("nginx");
    needs_root("run nginx");
    for (int forking = 0; forking < 2; forking++) {
        struct sss_unit unit = started_by(forking ? SSS_UNIT_FORKING : SSS_UNIT_EXEC);
        char pid_file[64];

        snprintf(path, sizeof(path), "%s/nginx.conf", dir);
        snprintf(pid_file, sizeof(pid_file), "%s/nginx.pid", dir);
        file = fopen(path, "we");
        check(file != NULL);
        fprintf(file,
                "daemon %s; pid %s; error_log stderr; worker_processes 2;\nevents {}\n"
                "http { access_log off; server { listen unix:%s/nginx%d.socket; } }\n",
                forking ? "on" : "off", pid_file, dir, forking);
        check_ok(fclose(file));
        bed_start(&bed, forking ? SSS_SCOPE_REGISTERED : SSS_SCOPE_ALL);
        unit.pid_file = forking ? pid_file : NULL;
        /* A master that was killed leaves its socket. */
        live_twice(&bed,
                   add_command(&bed, &unit, "rm -f %s/nginx%d.socket; exec nginx -e stderr -c %s",
                               dir, forking, path),
                   3);
        bed_end(&bed);
    }
}

static void redis(void **state)
{
    static const uint32_t modes[] = { SSS_UNIT_EXEC, SSS_UNIT_FORKING, SSS_UNIT_NOTIFY };
    static const char *const manners[] = { "no", "yes", "no --supervised systemd" };
    struct bed bed;

    (void)state;
    needs("redis-server");
    for (size_t at = 0; at < ARRAY_SIZE(modes); at++) {
        struct sss_unit unit = started_by(modes[at]);

        bed_start(&bed, SSS_SCOPE_ALL);
        live_twice(&bed,
                   add_command(&bed, &unit,
                               "exec redis-server --port 0 --unixsocket %s/redis.socket --dir %s "
                               "--save '' --pidfile %s/redis.pid --daemonize %s",
                               dir, dir, dir, manners[at]),
                   1);
        bed_end(&bed);
    }
}

/* It sends BARRIER=1 too, and fails if the descriptor with it is kept for five seconds. Then
 * it is called again: the test may have stood still. */
static void systemd_notify(void **state)
{
    struct bed bed;
    struct sss_unit unit = started_by(SSS_UNIT_NOTIFY);

    (void)state;
    needs("systemd-notify");
    needs_root("have systemd-notify speak as its parent");
    bed_start(&bed, SSS_SCOPE_ALL);
    struct sss_unit_ctx *a = add_command(
        &bed, &unit, "until systemd-notify --status='by hand'; do :; done; "
        "until systemd-notify --ready; do :; done; exec sleep 1000");
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    assert_string_equal(unit_status(a).text, "by hand");
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* Since systemd 254. */
static void systemd_notify_exec(void **state)
{
    struct bed bed;
    struct sss_unit unit = started_by(SSS_UNIT_NOTIFY);

    (void)state;
    needs("systemd-notify");
    needs_root("have systemd-notify speak as its parent");
    if (system("systemd-notify --help | grep -q -e --exec") != 0) {
        test_skip("plain", "this systemd-notify has no --exec: a_client_that_speaks_as_its_parent "
                  "does what it would do");
    }
    bed_start(&bed, SSS_SCOPE_ALL);
    struct sss_unit_ctx *a = add_command(
        &bed, &unit, "exec systemd-notify --ready --exec \\; sleep 1000");
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* As systemd-notify --exec does as root: the main process speaks as its parent, which is the
 * supervisor, waits for the barrier and executes another program. */
static void a_client_that_speaks_as_its_parent(void **state)
{
    static const char client[] =
        "from socket import *\n"
        "import os, struct\n"
        "s = socket(AF_UNIX, SOCK_DGRAM)\n"
        "s.connect(os.environ[\"NOTIFY_SOCKET\"].replace(\"@\", \"\\0\", 1))\n"
        "me = (SOL_SOCKET, SCM_CREDENTIALS, struct.pack(\"3i\", os.getppid(), 0, 0))\n"
        "s.sendmsg([b\"READY=1\"], [me])\n"
        "end, other = os.pipe()\n"
        "passed = (SOL_SOCKET, SCM_RIGHTS, struct.pack(\"i\", other))\n"
        "s.sendmsg([b\"BARRIER=1\"], [me, passed])\n"
        "os.close(other)\n"
        "assert os.read(end, 1) == b\"\"\n"
        "os.execvp(\"sleep\", [\"sleep\", \"1000\"])\n";
    struct bed bed;
    struct sss_unit unit = started_by(SSS_UNIT_NOTIFY);

    (void)state;
    needs("python3");
    needs_root("speak as another process");
    bed_start(&bed, SSS_SCOPE_ALL);
    struct sss_unit_ctx *a = add_command(&bed, &unit, "exec python3 -c '%s'", client);
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void a_python_client(void **state)
{
    static const char client[] =
        "import os, socket, time\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.connect(os.environ[\"NOTIFY_SOCKET\"].replace(\"@\", \"\\0\", 1))\n"
        "s.send(b\"STATUS=from Python\\nREADY=1\\nWATCHDOG=1\")\n"
        "assert int(os.environ[\"WATCHDOG_USEC\"]) == 3600000000\n"
        "s.send(b\"STOPPING=1\\nSTATUS=the end\")\n";
    struct bed bed;
    struct sss_unit unit = started_by(SSS_UNIT_NOTIFY);

    (void)state;
    needs("python3");
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.restart = SSS_UNIT_RESTART_NEVER;
    unit.mask |= SSS_UNIT_WATCHDOG;
    unit.watchdog = 3600000 * MS;
    struct sss_unit_ctx *a = add_command(&bed, &unit, "exec python3 -c '%s'", client);
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aP aS");
    check_int(bed.last.wait_status, 0);
    assert_string_equal(unit_status(a).text, "the end");
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* Debian's sshd notifies, as a unit with Type=notify. */
static void sshd(void **state)
{
    struct bed bed;
    struct sss_unit unit = started_by(SSS_UNIT_NOTIFY);
    char command[256];

    (void)state;
    if (access("/usr/sbin/sshd", X_OK) != 0) {
        test_lacks("no sshd");
    }
    needs_root("run sshd");
    snprintf(command, sizeof(command), "mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f %s/key",
             dir);
    check_int(system(command), 0);
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    struct sss_unit_ctx *a = add_command(
        &bed, &unit, "exec /usr/sbin/sshd -D -f /dev/null -o HostKey=%s/key -o Port=%d "
        "-o ListenAddress=127.0.0.1 -o PidFile=none", dir, free_port());
    live_twice(&bed, a, 1);
    bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nginx, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(redis, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(systemd_notify, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(systemd_notify_exec, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_client_that_speaks_as_its_parent, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_python_client, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(sshd, make_dir, remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
