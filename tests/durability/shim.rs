//! The library that is preloaded into a process under test; see `shim.c`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the shim into `dir`.
pub(crate) fn build(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/shim.c");
    let library = dir.join("shim.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .status()
        .expect("a C compiler named `cc` is needed to simulate what disks do");
    assert!(status.success(), "the shim does not compile");
    library
}
