//! The fork server's own program. libsss_sigchld starts it with the socket to its
//! client as descriptor 3; see sss_forksrv(7).

fn main() {
    std::process::exit(sss_sigchld::forksrv_helper());
}
