//! Link arguments of the shared library, and with the feature `regen-header` the C header.

/// Changes when the ABI breaks, never with the version. The Makefile reads it from this line.
const SOVERSION: &str = "0";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The Makefile hands it to the linker; cargo alone would not see it change.
    println!("cargo::rerun-if-changed=pkgconfig/sss_sigchld.map");

    for argument in [
        &format!("-soname,libsss_sigchld.so.{SOVERSION}"),
        // dlclose() must not unmap code that a thread, a handler or a loop can still reach.
        "-z,nodelete",
        "-z,relro",
        "-z,now",
        "-z,noexecstack",
        "-Bsymbolic",
    ] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    }

    syscall_instruction();

    #[cfg(feature = "regen-header")]
    header::write();
}

/// Where src/sys knows the machine's system call instruction; elsewhere, or with
/// SSS_SIGCHLD_LIBC_SYSCALLS set, children are started by fork alone.
fn syscall_instruction() {
    println!("cargo::rustc-check-cfg=cfg(sss_syscall_instruction)");
    println!("cargo::rerun-if-env-changed=SSS_SIGCHLD_LIBC_SYSCALLS");
    let machine = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let known = matches!(machine.as_str(), "x86_64" | "aarch64");
    if known && std::env::var_os("SSS_SIGCHLD_LIBC_SYSCALLS").is_none() {
        println!("cargo::rustc-cfg=sss_syscall_instruction");
    }
}

#[cfg(feature = "regen-header")]
mod header {
    use std::{env, fs};

    /// Generates the header from `src/ffi`, in the order of its `mod` lines.
    pub fn write() {
        let target = env::var("SSS_SIGCHLD_HEADER").unwrap_or("include/sss_sigchld.h".into());
        println!("cargo::rerun-if-env-changed=SSS_SIGCHLD_HEADER");
        for input in ["src/ffi", "cbindgen.toml", &target] {
            println!("cargo::rerun-if-changed={input}");
        }

        let mut header = Vec::new();
        cbindgen::Builder::new()
            .with_config(cbindgen::Config::from_file("cbindgen.toml").expect("cbindgen.toml"))
            .with_src("src/ffi/mod.rs")
            .generate()
            .expect("cbindgen reads src/ffi")
            .write(&mut header);
        let header = String::from_utf8(header).expect("cbindgen writes UTF-8");
        let header = in_c89(&without_safety_sections(&header));
        fs::write(&target, header).expect("the header is writable");
    }

    /// `# Safety` speaks to Rust callers and is the last section of a comment.
    fn without_safety_sections(header: &str) -> String {
        let mut kept: Vec<&str> = Vec::new();
        let mut in_section = false;
        for line in header.lines() {
            if line.trim() == "* # Safety" {
                in_section = true;
                if kept.last().is_some_and(|line| line.trim() == "*") {
                    kept.pop();
                }
            }
            in_section &= line.trim() != "*/";
            if !in_section {
                kept.push(line);
            }
        }
        kept.join("\n") + "\n"
    }

    /// C89 knows no `//`, which cbindgen puts after an #endif or a brace.
    fn in_c89(header: &str) -> String {
        let mut lines = String::new();
        for line in header.lines() {
            match line.split_once(" // ") {
                Some((code, comment)) if !line.trim_start().starts_with(['*', '/']) => {
                    lines += &format!("{} /* {comment} */\n", code.trim_end());
                }
                _ => lines += &format!("{line}\n"),
            }
        }
        lines
    }
}
