//! Join tokens: `ID.SECRET` bootstrap tokens as kubeadm's, with the CA hash to check the server by:
//! `abcdef.0123456789abcdef:sha256:<hex>`.

/// What `--token` carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// Six characters `[a-z0-9]`.
    pub id: String,
    /// Sixteen characters `[a-z0-9]`.
    pub secret: String,
    /// `sha256:<hex>` of the CA's public key.
    pub ca_hash: String,
}

impl JoinToken {
    pub fn generate(_ca_hash: &str) -> Self {
        todo!()
    }
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    /// `ID.SECRET`, what is sent as bearer token.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

impl std::fmt::Display for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}:{}", self.id, self.secret, self.ca_hash)
    }
}
