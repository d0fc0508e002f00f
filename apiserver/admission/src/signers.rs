//! Who may act for a signer of certificates.

use crate::{Act, Attributes};

/// Whether the asker may do this for the signer, or for all signers of its domain.
pub(crate) async fn may(attributes: &Attributes<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or(signer);
    for name in [signer, &format!("{domain}/*")] {
        let group = "certificates.k8s.io";
        let act = Act { verb, group, version: "*", resource: "signers", name, ..Act::default() };
        if attributes.may(&act).await {
            return true;
        }
    }
    false
}
