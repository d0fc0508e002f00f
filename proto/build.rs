//! Compiles the wire contracts without protoc. One line per file.

const FILES: &[&str] = &["cri.proto", "etcd.proto", "kms.proto", "log.proto", "raft.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(FILES, ["."])?;
    // Keys, values and encoded entries are slices of the received message, never copies of it.
    tonic_prost_build::configure().bytes(".kontiki").bytes(".etcdserverpb").compile_fds(descriptors)?;
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}
