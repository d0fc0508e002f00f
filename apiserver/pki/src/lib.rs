//! Certificates, service-account tokens and join tokens.

pub mod authority;
pub mod join;
pub mod reload;
pub mod tokens;
