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
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    /// The parameter types of src/ffi/params.rs, as C sees them.
    const POINTERS: [(&str, &str); 8] = [
        ("Handle", "*mut "),
        ("In", "*const "),
        ("Out", "*mut "),
        ("OutStruct", "*mut "),
        ("List", "*const "),
        ("OutList", "*mut "),
        ("Str", "*const std::ffi::c_char"),
        ("Strs", "*const *const std::ffi::c_char"),
    ];

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
            .with_src(with_pointers(Path::new("src/ffi")).join("mod.rs"))
            .generate()
            .expect("cbindgen reads src/ffi")
            .write(&mut header);
        let header = String::from_utf8(header).expect("cbindgen writes UTF-8");
        let header = in_c89(&without_safety_sections(&header));
        fs::write(&target, header).expect("the header is writable");
    }

    /// A copy of the exports with plain pointers: cbindgen cannot see through a type.
    fn with_pointers(exports: &Path) -> PathBuf {
        let copy = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("ffi");
        fs::create_dir_all(&copy).expect("a folder of the build's own");
        for file in fs::read_dir(exports).expect("src/ffi is there") {
            let file = file.expect("src/ffi can be read");
            let mut source = fs::read_to_string(file.path()).expect("it has text files only");
            // The types themselves are there.
            if file.file_name() != "params.rs" {
                source = as_pointers(&source);
            }
            fs::write(copy.join(file.file_name()), source).expect("a file of the build's own");
        }
        copy
    }

    /// Writes `Out<'a, T>` as `*mut T`, and so on.
    fn as_pointers(source: &str) -> String {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut written = String::new();
        let mut rest = source;
        while let Some(open) = rest.find('<') {
            let (before, behind) = rest.split_at(open);
            let start = before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
            let pointer = POINTERS.iter().find(|(name, _)| *name == &before[start..]);
            let Some(&(_, pointer)) = pointer else {
                written += &rest[..=open];
                rest = &rest[open + 1..];
                continue;
            };
            let mut depth = 0;
            let close = behind.find(|c| {
                depth += i32::from(c == '<') - i32::from(c == '>');
                depth == 0
            });
            let close = close.expect("each < of a type has its >");
            let mut pointee = &behind[1..close];
            if pointee.starts_with('\'') {
                pointee = pointee.split_once(',').map_or("", |(_, pointee)| pointee);
            }
            written += &format!(
                "{}{pointer}{}",
                &before[..start],
                as_pointers(pointee.trim())
            );
            rest = &behind[close + 1..];
        }
        written + rest
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
