/*
 * libsss_sigchld in C++17: contexts and children that end with their objects.
 *
 * A function throws std::system_error with the library's errno. Callbacks are
 * std::function; they must not throw. An object may be destroyed in any callback,
 * its own included. See sss_sigchld_adapters(7).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_HPP
#define SSS_SIGCHLD_HPP

#include <cstdint>
#include <functional>
#include <memory>
#include <sss_sigchld.h>
#include <system_error>
#include <utility>

namespace sss {

inline void check(errno_t code, const char *what)
{
    if (code != 0) {
        throw std::system_error(code, std::generic_category(), what);
    }
}

/* A watch of one child: move-only; its end ends the watch. */
class child {
public:
    using ended = std::function<void(int pid, int wait_status)>;

    child() = default;
    child(child &&other) noexcept = default;
    child &operator=(child &&other) noexcept = default;

    explicit operator bool() const noexcept { return watch_ != nullptr; }
    sss_child_ctx *get() const noexcept { return watch_ ? watch_->handle : nullptr; }

    pid_t pid() const
    {
        pid_t pid = 0;
        check(sss_child_pid(get(), &pid), "sss_child_pid");
        return pid;
    }

    /* False where it has ended. */
    bool kill(int signum) const
    {
        errno_t code = sss_child_kill(get(), signum);
        if (code != ESRCH) {
            check(code, "sss_child_kill");
        }
        return code == 0;
    }

private:
    friend class context;

    struct watch {
        explicit watch(ended fn) : callback(std::make_shared<ended>(std::move(fn))) {}
        watch(const watch &) = delete;
        watch &operator=(const watch &) = delete;
        ~watch() { (void)sss_child_free(handle); }

        std::shared_ptr<ended> callback;
        sss_child_ctx *handle = nullptr;
    };

    static void call(int pid, int wait_status, void *pvt)
    {
        /* The callback may destroy the watch, and itself with it. */
        std::shared_ptr<ended> callback = static_cast<watch *>(pvt)->callback;
        if (*callback) {
            (*callback)(pid, wait_status);
        }
    }

    explicit child(ended fn) : watch_(std::make_unique<watch>(std::move(fn))) {}

    std::unique_ptr<watch> watch_;
};

/* A context, polled by its descriptor or made with a host of sss_sigchld/. */
class context {
public:
    explicit context(std::uint32_t scope = SSS_SCOPE_REGISTERED,
                     const sss_host *host = nullptr, void *loop = nullptr)
    {
        sss_ctx_params params{};
        sss_sigchild_ctx *made = nullptr;

        params.size = sizeof(params);
        params.mask = SSS_CTX_PARAM_SCOPE;
        params.scope = scope;
        params.host = host;
        params.loop = loop;
        check(sss_sigchld_ctx_create(&params, &made), "sss_sigchld_ctx_create");
        ctx_.reset(made);
    }

    sss_sigchild_ctx *get() const noexcept { return ctx_.get(); }

    int fd() const
    {
        int fd = -1;
        check(sss_sigchld_ctx_fd(get(), &fd), "sss_sigchld_ctx_fd");
        return fd;
    }

    void dispatch(std::uint32_t budget = 0) const
    {
        check(sss_sigchld_ctx_dispatch(get(), budget), "sss_sigchld_ctx_dispatch");
    }

    [[nodiscard]] child watch(pid_t pid, child::ended fn) const
    {
        child made(std::move(fn));
        check(sss_child_register(nullptr, get(), pid, child::call, made.watch_.get(),
                                 &made.watch_->handle),
              "sss_child_register");
        return made;
    }

    [[nodiscard]] child spawn(const sss_spawn &spec, child::ended fn) const
    {
        child made(std::move(fn));
        check(sss_child_spawn(nullptr, get(), &spec, child::call, made.watch_.get(),
                              &made.watch_->handle),
              "sss_child_spawn");
        return made;
    }

private:
    struct end {
        void operator()(sss_sigchild_ctx *ctx) const noexcept { (void)sss_sigchld_ctx_free(ctx); }
    };

    std::unique_ptr<sss_sigchild_ctx, end> ctx_;
};

} // namespace sss

#endif /* SSS_SIGCHLD_HPP */
