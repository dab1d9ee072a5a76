/* Another unit of a program with sss_sigchld.hpp: its objects move, and are destroyed in any
 * order. */
#include <cstdlib>
#include <poll.h>
#include <sss_sigchld.hpp>
#include <unistd.h>

template <class T> constexpr bool move_only =
    std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
    !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(move_only<sss::child> && move_only<sss::context>);

static pid_t start(int code)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(code);
    }
    return pid;
}

static void expect(bool as_expected)
{
    if (!as_expected) {
        std::abort();
    }
}

int main()
{
    int ended = 0, untold = 0;
    sss::child outlives;
    {
        sss::context made, context;
        context = std::move(made);
        sss::child one = context.watch(start(3), [&](int, int wait_status) {
            expect(wait_status == 3 << 8);
            ended++;
        });
        sss::child moved = std::move(one), none;
        expect(moved && !one && moved.pid() > 0);
        {
            sss::child dropped = context.watch(start(4), [&](int, int) { untold++; });
        }
        moved = context.watch(start(5), [&](int, int) { ended++; moved = {}; }); // ends the first
        pollfd wake{context.fd(), POLLIN, 0};
        while (ended == 0) {
            expect(poll(&wake, 1, 60000) == 1);
            context.dispatch();
        }
        expect(!moved);
        try {
            none = context.watch(getppid(), {});
            expect(false);
        } catch (const std::system_error &error) {
            expect(error.code() == std::errc::no_such_process);
        }
        outlives = context.watch(start(6), [&](int, int) { untold++; });
    }
    expect(ended == 1 && untold == 0);
    outlives = {};
}
