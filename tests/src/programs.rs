//! Programs of others that tests use where they are.

use std::path::PathBuf;

/// The program that this environment variable names; `None` with a clear word where it names none.
pub fn named(variable: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file());
    if program.is_none() {
        println!("skipped: {variable} names no program (make test fetches those that Debian has)");
    }
    program
}
