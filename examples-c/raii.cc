// raii COMMAND [ARGUMENT...]: a child that ends with its object, on poll(2).
#include <csignal>
#include <cstdio>
#include <cstring>
#include <poll.h>
#include <sss_sigchld.hpp>

int main(int argc, char **argv)
{
    if (argc < 2) {
        return 1;
    }
    std::signal(SIGCHLD, SIG_DFL); // our parent may have ignored it
    try {
        sss::context context;
        sss_spawn spec{};
        bool running = true;

        spec.size = sizeof(spec);
        spec.mask = SSS_SPAWN_SEARCH_PATH;
        spec.path = argv[1];
        spec.argv = argv + 1;
        sss::child child = context.spawn(spec, [&](int pid, int wait_status) {
            std::printf("process %d ended, wait status 0x%04x\n", pid,
                        static_cast<unsigned>(wait_status));
            child = {}; // also from inside its own callback
            running = false;
        });
        pollfd wake{context.fd(), POLLIN, 0};
        while (running) {
            if (poll(&wake, 1, -1) == 1) {
                context.dispatch();
            }
        }
    } catch (const std::system_error &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
