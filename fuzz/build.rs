//! The control socket belongs to sss-supervise, which is written in C. It is compiled by
//! clang, as libFuzzer understands clang's coverage data and not gcc's.

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
