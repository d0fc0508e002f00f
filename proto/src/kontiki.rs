//! Our own packages, nested as protobuf names them, so that they can refer to each other.
#![allow(unreachable_pub, clippy::all)]

pub mod log {
    pub mod v1 {
        tonic::include_proto!("kontiki.log.v1");
    }
}

pub mod raft {
    pub mod v1 {
        tonic::include_proto!("kontiki.raft.v1");
    }
}
