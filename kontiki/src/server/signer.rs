//! Signing with the cluster's CA, whose key never leaves the replica's PKI directory.

use std::path::{Path, PathBuf};

use controller_runtime::Signer;
use jiff::Timestamp;
use pki::authority::Authority;
use pki::signing::{Order, SERIAL_BYTES, sign};
use rand::RngCore;

/// Reads the CA anew for every certificate: a new one takes effect with the next.
pub(super) struct ClusterSigner {
    certificate: PathBuf,
    key: PathBuf,
}

impl ClusterSigner {
    pub(super) fn new(pki_dir: &Path) -> Self {
        Self { certificate: pki_dir.join("ca.crt"), key: pki_dir.join("ca.key") }
    }

    fn authority(&self) -> Result<Authority, String> {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        Authority::from_pem(&read(&self.certificate)?, &read(&self.key)?).map_err(|error| error.to_string())
    }
}

impl Signer for ClusterSigner {
    fn sign(&self, signing: &controller_runtime::Signing, now: Timestamp) -> Result<String, String> {
        let order = Order { request: &signing.request, usages: &signing.usages, seconds: signing.seconds };
        sign(&self.authority()?, &order, now, serial()).map_err(|error| error.to_string())
    }
}

#[expect(clippy::disallowed_methods, reason = "a serial number must not repeat")]
fn serial() -> [u8; SERIAL_BYTES] {
    let mut bytes = [0u8; SERIAL_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
