//! Programs of the host for a guest, with the libraries that they are linked with, which `guest/init.sh` puts where they
//! are looked for.

use crate::cmd;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// These files, the dynamic linker and all libraries that they ask for; no two have the same name.
pub fn with_libraries(programs: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = BTreeMap::new();
    for file in programs {
        // It fails for what needs none: a static program, a kernel's module, a file that is no program.
        let listing = cmd::text(Command::new("ldd").arg(file)).unwrap_or_default();
        for library in libraries(&listing).chain([file.clone()]) {
            files.entry(name_of(&library)).or_insert(library);
        }
    }
    files.into_values().collect()
}

/// The last part of a path.
pub fn name_of(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The files in what ldd prints: `NAME => FILE (ADDRESS)`, and `FILE (ADDRESS)` for the dynamic linker.
fn libraries(listing: &str) -> impl Iterator<Item = PathBuf> + '_ {
    listing.lines().filter_map(|line| {
        let file = line.split_once("=> ").map_or(line, |(_, file)| file);
        let file = file.split_whitespace().next()?;
        file.starts_with('/').then(|| PathBuf::from(file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_brings_its_linker_and_a_script_nothing() {
        let itself = std::env::current_exe().expect("a program");
        let names: Vec<String> = with_libraries(std::slice::from_ref(&itself))
            .iter()
            .map(|file| name_of(file))
            .collect();
        for name in ["ld-linux-x86-64.so.2", "libc.so.6", &name_of(&itself)] {
            assert!(
                names.iter().any(|found| found == name),
                "{name} is not in {names:?}"
            );
        }
        let script = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(with_libraries(&[script.path().to_owned()]), [script.path()]);
    }

    #[test]
    fn files_are_taken_from_what_ldd_prints() {
        let listing = "\tlinux-vdso.so.1 (0x00007f)\n\tlibm.so.6 => /lib/libm.so.6 (0x00007f)\n\
                       \tlibx.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let files: Vec<PathBuf> = libraries(listing).collect();
        assert_eq!(
            files,
            [
                Path::new("/lib/libm.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}
