//! Who is asking (authentication) and may they (authorization).

pub mod authn;
pub mod authz;
