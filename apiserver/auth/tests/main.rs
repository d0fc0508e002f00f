//! Authentication and authorization, with others that are asked over HTTPS, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod common;
mod oidc;
mod rbac_reference;
mod webhooks;
