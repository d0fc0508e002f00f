//! Encryption at rest: a store around the store, where the configuration asks for it.

use std::sync::Arc;

use api_encryption::{SealedStore, Transformers};
use api_machinery::{ApiError, Value};
use serde_json::json;
use store_api::DynStore;
use store_node::RaftStore;
use tokio_util::sync::CancellationToken;

use super::kms;
use crate::Failure;
use crate::config::ServerConfiguration;

/// `None`: nothing is encrypted. A configuration that cannot be used is no reason to go on without.
pub(super) async fn sealed(
    config: &ServerConfiguration,
    raft: &Arc<RaftStore>,
    stop: &CancellationToken,
) -> Result<Option<Arc<SealedStore>>, Failure> {
    let Some(path) = &config.encryption_provider_config else { return Ok(None) };
    let transformers = Transformers::read(path, &kms::connect)?;
    transformers.start().await;
    let sealed = Arc::new(SealedStore::new(raft.clone(), transformers));
    if config.encryption_provider_config_automatic_reload {
        let (followed, path, stop) = (sealed.clone(), path.clone(), stop.clone());
        tokio::spawn(
            async move { stop.run_until_cancelled(api_encryption::follow(followed, path, &kms::connect)).await },
        );
    }
    Ok(Some(sealed))
}

/// What the registry works on.
pub(super) fn store(raft: &Arc<RaftStore>, sealed: &Option<Arc<SealedStore>>) -> DynStore {
    match sealed {
        Some(sealed) => sealed.clone(),
        None => raft.clone(),
    }
}

/// `encryption/rotate`: one page of it. The caller goes on after what `next` names until there is none.
pub(super) async fn rotate(sealed: &Option<Arc<SealedStore>>, body: &Value) -> Result<Value, ApiError> {
    let why = "this replica has no encryption configuration (--encryption-provider-config)";
    let sealed = sealed.as_ref().ok_or_else(|| ApiError::bad_request(why))?;
    let after = body["after"].as_str().unwrap_or("");
    let page = api_encryption::rotate(sealed, after).await.map_err(|error| ApiError::unavailable(error.to_string()))?;
    Ok(json!({
        "lookedAt": page.looked_at, "rewritten": page.rewritten, "unreadable": page.unreadable, "next": page.next,
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use api_registry::{Body, Registry, RequestInfo, Target};

    use super::*;
    use crate::config::{Endpoint, InitialMember};
    use crate::server::identity::{Identity, Which};

    /// In base64, as JSON has it in `data` of a Secret.
    const CANARY: &str = "Y2FuYXJ5LWluLWEtY29hbC1taW5lLTQ3MTE=";

    fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    }

    fn configuration(dir: &Path, encryption: Option<&str>) -> ServerConfiguration {
        let endpoint = || {
            let address = format!("127.0.0.1:{}", free_port());
            Endpoint { listen: address.parse().expect("an address"), advertise: address }
        };
        let (data, pki) = (dir.join("data"), dir.join("pki"));
        let mut config = ServerConfiguration::new(1, "c0ffee00", data, pki, endpoint(), endpoint());
        let (peer, api) = (config.peer.advertise.clone(), format!("https://{}", config.api.advertise));
        config.initial_members = vec![InitialMember { id: 1, peer, api }];
        config.encryption_provider_config = encryption.map(|providers| {
            let file = dir.join("encryption.yaml");
            let text = format!(
                "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
                 - resources: [secrets]\n  providers: [{providers}]\n"
            );
            std::fs::write(&file, text).expect("written");
            file
        });
        config
    }

    async fn write_secrets(registry: &Registry) {
        let resource = registry.schema.resource("", "v1", "secrets").expect("secrets");
        let target = Target { resource, namespace: "default", name: "", subresource: "" };
        for number in 0..20 {
            let secret = json!({"metadata": {"name": format!("s{number}")}, "data": {"key": CANARY}});
            let info = RequestInfo::internal("system:test");
            registry.create(&info, &target, Body::Value(secret)).await.expect("created");
        }
        let found = registry.get(&Target { name: "s7", ..target }, None).await.expect("there");
        assert_eq!(found.value()["data"]["key"], CANARY, "and readable through the API");
    }

    /// Runs a replica that writes the secret, and ends it; then every file it left is looked through.
    async fn files_with_the_canary(encryption: Option<&str>) -> Vec<String> {
        let dir = tempfile::tempdir().expect("dir");
        let config = configuration(dir.path(), encryption);
        let identity = Identity::ensure(&config, Which::Due, crate::now()).expect("certificates");
        let stop = CancellationToken::new();
        let raft = crate::raft::start(super::super::place(&config), &identity, &stop).await.expect("a store");
        let sealed = sealed(&config, &raft, &stop).await.expect("a configuration");
        super::super::found(&config, &raft).await.expect("founded");
        crate::raft::wait_for_quorum(&raft).await;
        let registry = super::super::start_registry(&config, store(&raft, &sealed)).await.expect("a registry");
        registry.bootstrap().await.expect("bootstrapped");
        write_secrets(&registry).await;
        if sealed.is_some() {
            let answer = rotate(&sealed, &Value::Null).await.expect("rotated");
            assert_eq!(
                (&answer["rewritten"], &answer["unreadable"]),
                (&json!(0), &json!([])),
                "all is as it should be"
            );
        }
        raft.shutdown().await;
        let mut found = Vec::new();
        look_through(&config.data_dir, &mut found);
        found
    }

    fn look_through(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                look_through(&path, found);
            } else {
                let bytes = std::fs::read(&path).expect("readable");
                if bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()) {
                    found.push(path.display().to_string());
                }
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_secret_is_in_no_file_when_encryption_is_on() {
        let gcm = "{aesgcm: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}";
        assert_eq!(files_with_the_canary(Some(gcm)).await, [""; 0]);
        // The way of looking finds it where there is something to find.
        assert_ne!(files_with_the_canary(None).await, [""; 0]);
    }
}
