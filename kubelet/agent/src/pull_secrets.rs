//! Credentials for registries, from the pod's `imagePullSecrets`.

use base64::Engine as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kubelet_core::pods;
use kubelet_cri::cri;
use serde_json::Value;

use crate::agent::Node;
use crate::objects::FRESH;

/// The credential of the longest matching registry, if any of the pod's secrets has one.
pub(crate) async fn find(node: &Node, pod: &Pod, image: &str) -> Option<cri::AuthConfig> {
    let names = pods::spec(pod)?.image_pull_secrets.as_deref()?;
    let mut best: Option<(usize, cri::AuthConfig)> = None;
    for name in names {
        let secret = match node.objects.secret(pods::identity(pod).0, &name.name, FRESH).await {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                let message = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    name.name
                );
                node.events.pod(pod, None, false, "FailedToRetrieveImagePullSecret", message);
                continue;
            }
            Err(error) => {
                tracing::debug!(%error, secret = name.name, "reading an image pull secret");
                continue;
            }
        };
        if let Some((length, auth)) = matching(&secret, image)
            && best.as_ref().is_none_or(|(b, _)| length > *b)
        {
            best = Some((length, auth));
        }
    }
    best.map(|(_, auth)| auth)
}

fn matching(secret: &Secret, image: &str) -> Option<(usize, cri::AuthConfig)> {
    let data = secret.data.as_ref()?;
    let auths: Value = match (data.get(".dockerconfigjson"), data.get(".dockercfg")) {
        (Some(config), _) => serde_json::from_slice::<Value>(&config.0).ok()?.get("auths")?.clone(),
        (None, Some(config)) => serde_json::from_slice(&config.0).ok()?,
        (None, None) => return None,
    };
    let full = with_registry(image);
    let candidates = auths.as_object()?.iter().filter_map(|(registry, entry)| {
        let plain = registry.trim_start_matches("https://").trim_start_matches("http://");
        let plain = plain.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
        let fits = full == plain || full.starts_with(&format!("{plain}/"));
        fits.then(|| credential(entry)).flatten().map(|auth| (plain.len(), auth))
    });
    candidates.max_by_key(|(length, _)| *length)
}

/// The image with its registry's host, which the default one's images leave out.
fn with_registry(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains('.') || host.contains(':') || host == "localhost" => image.to_owned(),
        _ => format!("index.docker.io/{image}"),
    }
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
