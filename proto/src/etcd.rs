//! etcd's v3 API (package `etcdserverpb`), as far as it is served: see `etcd.proto`.
#![allow(unreachable_pub, clippy::all)]

tonic::include_proto!("etcdserverpb");
