//! Who may act for a signer of certificates.

use crate::{Act, Attributes};

/// Whether the asker may do this for the signer, or for all signers of its domain.
pub(crate) fn may(attributes: &Attributes<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or(signer);
    let all = format!("{domain}/*");
    [signer, all.as_str()].into_iter().any(|name| {
        attributes.may(&Act {
            verb,
            group: "certificates.k8s.io",
            version: "*",
            resource: "signers",
            name,
            ..Act::default()
        })
    })
}
