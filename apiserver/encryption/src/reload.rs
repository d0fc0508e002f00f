//! The configuration file, read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config::ConfigError;
use crate::store::SealedStore;
use crate::transformers::{Connect, Transformers};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const RELOADS: &str = "apiserver_encryption_config_controller_automatic_reloads_total";

/// The text of a file, to be told from another one.
type Hash = [u8; 32];

impl Transformers {
    /// Reads a configuration file.
    pub fn read(path: &Path, connect: Connect<'_>) -> Result<Self, ConfigError> {
        Self::parse(&text(path)?, connect)
    }
}

fn text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.display().to_string(), source })
}

/// For as long as it runs. What cannot be used is said once, and the last good configuration stays in force.
pub async fn follow(store: Arc<SealedStore>, path: PathBuf, connect: Connect<'_>) {
    let mut seen: Option<Hash> = text(&path).ok().map(|text| Sha256::digest(text).into());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(text) = text(&path) else { continue };
        let hash: Hash = Sha256::digest(&text).into();
        if seen == Some(hash) {
            continue;
        }
        seen = Some(hash);
        let status = match Transformers::parse(&text, connect) {
            Ok(transformers) => {
                transformers.start().await;
                store.set(transformers);
                tracing::info!(file = %path.display(), "the encryption configuration was read again");
                "success"
            }
            Err(error) => {
                tracing::error!(%error, file = %path.display(), "the changed encryption configuration is not used");
                "failure"
            }
        };
        metrics::counter!(RELOADS, "status" => status).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use store_api::Store as _;
    use store_api::mem::MemStore;

    use super::*;
    use crate::transformers::tests::no_plugin;

    fn configuration(kind: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
             providers: [{{{kind}: {{keys: [{{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}}]}}}}]\n"
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_takes_effect_and_a_broken_one_does_not() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("encryption.yaml");
        std::fs::write(&path, configuration("aesgcm")).expect("written");
        let below = MemStore::new().into_dyn();
        let store = Arc::new(SealedStore::new(below.clone(), Transformers::read(&path, &no_plugin).expect("good")));
        tokio::spawn(follow(store.clone(), path.clone(), &no_plugin));
        let written = async || {
            tokio::time::sleep(3 * LOOK_EVERY).await;
            let key = "/registry/core/secrets/default/a";
            store.txn(store_api::Txn::put(key, "{}")).await.expect("written");
            let kv = below.get(key.as_bytes(), store_api::ReadAt::Local).await.expect("read").kv;
            String::from_utf8_lossy(&kv.expect("there").value).split(':').nth(2).map(str::to_owned)
        };
        assert_eq!(written().await.as_deref(), Some("aesgcm"));
        std::fs::write(&path, configuration("secretbox")).expect("written");
        assert_eq!(written().await.as_deref(), Some("secretbox"));
        std::fs::write(&path, "nonsense").expect("written");
        assert_eq!(written().await.as_deref(), Some("secretbox"), "the last good one");
        std::fs::write(&path, configuration("aescbc")).expect("written");
        assert_eq!(written().await.as_deref(), Some("aescbc"));
        assert!(Transformers::read(&dir.path().join("none"), &no_plugin).is_err());
    }
}
