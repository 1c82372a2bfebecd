//! Compiles the policy as the kernel does, freestanding; with sanitizers when BARLINE_SANITIZE is set.

use std::env;

const FILES: [&str; 7] = ["range", "msix", "irq", "cap", "cfgtable", "cfgperm", "state"];

fn main() {
    println!("cargo:rerun-if-env-changed=BARLINE_SANITIZE");
    println!("cargo:rerun-if-changed=../policy");
    println!("cargo:rerun-if-changed=src/layout.c");
    let mut build = cc::Build::new();
    build
        .std("gnu11")
        .include("../policy")
        .file("src/layout.c")
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true);
    for name in FILES {
        build.file(format!("../policy/{name}.c"));
    }
    if env::var_os("BARLINE_SANITIZE").is_some_and(|value| !value.is_empty()) {
        build.flag("-fsanitize=address,undefined");
        build.flag("-fno-sanitize-recover=all").flag("-g");
        // Named here, they come before the C library, as the address sanitizer wants.
        println!("cargo:rustc-link-lib=dylib=asan");
        println!("cargo:rustc-link-lib=dylib=ubsan");
    } else {
        build.flag("-ffreestanding");
    }
    build.compile("policy");
}
