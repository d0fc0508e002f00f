//! Credentials for registries, from the pod's `imagePullSecrets`.

use base64::Engine as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kubelet_core::pods;
use kubelet_core::registries::{self, Registry};
use kubelet_cri::cri;
use serde_json::Value;

use crate::agent::Node;
use crate::objects::FRESH;

/// All credentials of the pod's secrets that may open the image, the likeliest first.
pub(crate) async fn find(node: &Node, pod: &Pod, image: &str) -> Vec<cri::AuthConfig> {
    let mut credentials = Vec::new();
    for reference in pods::spec(pod).and_then(|s| s.image_pull_secrets.as_deref()).unwrap_or(&[]) {
        match node.objects.secret(pods::identity(pod).0, &reference.name, FRESH).await {
            Ok(Some(secret)) => credentials.extend(read(&secret)),
            Ok(None) => {
                let message = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    reference.name
                );
                node.events.pod(pod, None, false, "FailedToRetrieveImagePullSecret", message);
            }
            Err(error) => tracing::debug!(%error, secret = reference.name, "reading an image pull secret"),
        }
    }
    registries::matching(&credentials, image)
}

/// What a secret holds; nothing where it cannot be read.
fn read(secret: &Secret) -> Vec<(Registry, cri::AuthConfig)> {
    let content = |key: &str| {
        let bytes = &secret.data.as_ref()?.get(key)?.0;
        serde_json::from_slice::<Value>(bytes).ok()
    };
    let auths = match content(".dockerconfigjson") {
        Some(config) => config.get("auths").cloned(),
        None => content(".dockercfg"),
    };
    let auths = auths.unwrap_or_default();
    let entries = auths.as_object().into_iter().flatten();
    entries.filter_map(|(key, entry)| Some((Registry::parse(key), credential(entry)?))).collect()
}

fn credential(entry: &Value) -> Option<cri::AuthConfig> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if username.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(text("auth")).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, secret) = decoded.split_once(':')?;
        (username, password) = (user.to_owned(), secret.to_owned());
    }
    Some(cri::AuthConfig { username, password, identity_token: text("identitytoken"), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_of_both_kinds() {
        let auths = json!({
            "https://index.docker.io/v1/": {"auth": base64::engine::general_purpose::STANDARD.encode("me:pass:word")},
            "registry.example": {"username": "you", "password": "secret"},
            "broken.example": {"auth": "?"},
        });
        let secret = |key: &str, content: Value| -> Secret {
            let bytes = base64::engine::general_purpose::STANDARD.encode(content.to_string());
            serde_json::from_value(json!({"data": {key: bytes}})).expect("a secret")
        };
        for secret in [secret(".dockerconfigjson", json!({"auths": auths})), secret(".dockercfg", auths.clone())] {
            let credentials = read(&secret);
            assert_eq!(credentials.len(), 2);
            let found = registries::matching(&credentials, "busybox");
            assert_eq!((found[0].username.as_str(), found[0].password.as_str()), ("me", "pass:word"));
        }
        assert!(read(&secret("other", json!({}))).is_empty());
    }
}
