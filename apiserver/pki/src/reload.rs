//! TLS configurations whose certificate files are read again when they change, without restart.

use std::path::Path;
use std::sync::Arc;

use crate::authority::PkiError;

/// Server side: own certificate, and clients checked against `client_ca` when they present one
/// (`require`: they must). ALPN `h2` and `http/1.1` when `http`. Watches the files (once a second, by mtime).
pub fn server_config(
    _certificate: &Path,
    _key: &Path,
    _client_ca: &Path,
    _require: bool,
    _alpn: &[&[u8]],
) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    todo!()
}

/// Client side: servers checked against `ca`, own certificate presented and re-read when it changes.
pub fn client_config(
    _ca: &Path,
    _identity: Option<(&Path, &Path)>,
    _alpn: &[&[u8]],
) -> Result<Arc<rustls::ClientConfig>, PkiError> {
    todo!()
}
