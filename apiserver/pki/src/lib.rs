//! Certificates, service-account tokens and join tokens.
//!
//! Keys are ECDSA P-256 throughout. Private keys are written 0600 into directories of 0700, by
//! writing a temporary file and renaming it, so that a crash leaves the old file or the new one.

pub mod authority;
mod der;
mod files;
pub mod join;
pub mod names;
pub mod reload;
pub mod signing;
pub mod tokens;

pub use authority::PkiError;
pub use files::{write_private, write_public};
