//! Container Runtime Interface v1 (package `runtime.v1`), the part our kubelet uses: see `cri.proto`.
#![allow(unreachable_pub, clippy::all)]

tonic::include_proto!("runtime.v1");
