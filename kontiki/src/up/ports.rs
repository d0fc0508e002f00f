//! Whether the ports a cluster needs are free, before anything is started.

use std::net::{SocketAddr, TcpListener};

use crate::Failure;

/// Ports named in one message: when another cluster has them, it has all.
const SHOWN: usize = 3;

/// `Err` names the ports that are not, what they were for, and the option that names others.
pub(crate) fn probe(wanted: &[(SocketAddr, String)], option: &str) -> Result<(), Failure> {
    let taken = wanted.iter().filter_map(|(address, purpose)| {
        let error = TcpListener::bind(address).err()?;
        Some(format!("{address} for {purpose} ({error})"))
    });
    let taken: Vec<String> = taken.take(SHOWN).collect();
    if taken.is_empty() {
        return Ok(());
    }
    Err(format!(
        "cannot listen on {}: end what listens there, or name another {option} and --data-dir",
        taken.join(", ")
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_taken() {
        let free: SocketAddr = "127.0.0.1:0".parse().expect("address");
        assert!(probe(&[(free, "replica 1".to_owned())], "--port-base").is_ok());
        let held = TcpListener::bind(free).expect("a port");
        let address = held.local_addr().expect("address");
        let error = probe(&[(free, "replica 1".to_owned()), (address, "replica 2".to_owned())], "--port-base")
            .expect_err("taken");
        let error = error.to_string();
        assert!(error.contains(&format!("{address} for replica 2")) && !error.contains("replica 1"), "{error}");
        assert!(error.contains("--port-base"), "{error}");
    }
}
