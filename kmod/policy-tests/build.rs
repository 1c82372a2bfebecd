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
        let kinds = "-fsanitize=address,undefined";
        build.flag(kinds).flag("-fno-sanitize-recover=all").flag("-g");
        println!("cargo:rustc-link-arg={kinds}");
    } else {
        build.flag("-ffreestanding");
    }
    build.compile("policy");
}
