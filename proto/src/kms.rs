//! Key management plugins, KMS v2 (package `v2`): see `kms.proto`.
#![allow(unreachable_pub, clippy::all)]

tonic::include_proto!("v2");
