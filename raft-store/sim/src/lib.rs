//! Whole clusters of the store in one thread, on virtual time, network and disk, by seed.
//!
//! A replica here is the real one: openraft, the glue around it, the engine, RocksDB with its real files. What is
//! simulated is what lies around it ([`store_node::world::World`]): time (each replica has a runtime of its own, whose
//! clock is moved by the simulation), the wire ([`net`]: the real peer protocol, called without TLS and HTTP/2), the
//! disk ([`disk`]: what a power cut takes away, and damage), randomness.
//!
//! A run ([`run`]) is a cluster, clients, and faults ([`nemesis`]) for some seconds of virtual time; then everything
//! heals and must come to rest. All that happens is a list of facts ([`facts`]), which every checker ([`checkers`])
//! sees one by one, together with what is known of the whole cluster ([`view`]) and what is true ([`truth`]). Everything
//! random comes from the seed: the same seed is the same run.

mod checkers;
mod clients;
mod disk;
mod facts;
mod host;
mod jobs;
mod nemesis;
mod net;
mod plant;
mod process;
mod rng;
mod run;
mod shared;
mod strangers;
mod trace;
mod truth;
mod view;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use plant::Plant;
pub use run::{Failure, Options, Report, run};
pub use store_engine::planted::Bug;

/// Where disks are simulated: in memory, where there is such a place, because nothing here needs to last.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.into() } else { std::env::temp_dir() }
}

fn hash_file(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            n => hasher.update(&buffer[..n]),
        }
    }
}
