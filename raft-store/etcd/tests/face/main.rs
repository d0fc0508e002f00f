//! What etcd's own client would hide: certificates, codes, the order of what a stream tells.

mod codes;
mod server;
mod streams;
