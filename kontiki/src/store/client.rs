//! What etcd's clients of a store need.

use std::path::Path;

use crate::Failure;
use crate::server::identity::{self, Authorities, Ca, Identity};

/// `ca.crt`, `client.crt` and `client.key` in a directory; made anew when they soon end.
pub(crate) fn write_client(dir: &Path, pki_dir: &Path, authorities: &Authorities) -> Result<(), Failure> {
    let leaf = identity::etcd_client(Ca::Cluster);
    let identity = Identity::issue(pki_dir.to_owned(), authorities, vec![leaf], crate::now())?;
    pki::write_public(&dir.join("ca.crt"), authorities.cluster.certificate_pem())?;
    let certificate = std::fs::read_to_string(identity.certificate(identity::ETCD_CLIENT))?;
    pki::write_public(&dir.join("client.crt"), &certificate)?;
    let key = std::fs::read_to_string(identity.key(identity::ETCD_CLIENT))?;
    pki::write_private(&dir.join("client.key"), &key)?;
    Ok(())
}
