//! The control socket is sss-supervise's, which is written in C: clang's coverage is
//! what libFuzzer knows, gcc's is not.

fn main() {
    println!("cargo:rerun-if-changed=control.c");
    println!("cargo:rerun-if-changed=../examples-c/supervise.c");
    println!("cargo:rerun-if-changed=../include/sss_sigchld.h");
    cc::Build::new()
        .compiler("clang")
        .include("../include")
        .flag("-fsanitize=fuzzer-no-link,address")
        .file("control.c")
        .compile("control");
}
