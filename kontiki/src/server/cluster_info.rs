//! `kube-public/cluster-info`: what anybody may know of the cluster, for who joins as with kubeadm. It says where an
//! API server is and which CA is the cluster's; a controller signs it with every join token.

use api_codec::decode::FieldValidation;
use api_codec::patch::PatchKind;
use api_machinery::error::Result;
use api_machinery::{ApiError, GroupResource, ObjectKey, Reason, UserInfo, Value};
use api_registry::{Body, Registry, RequestInfo, Target};
use base64::Engine as _;
use serde_json::json;

use crate::config::ServerConfiguration;

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";

/// Makes it where it is absent; where it names another CA than this replica's, the CA is changed. Which server it
/// names is an operator's to say.
pub(crate) async fn ensure(registry: &Registry, config: &ServerConfiguration) -> Result<()> {
    let ca = std::fs::read_to_string(config.pki_dir.join("ca.crt")).map_err(ApiError::internal)?;
    let resource = registry.schema.own("", "v1", "configmaps");
    let resource = resource.ok_or_else(|| ApiError::internal("configmaps are not served"))?;
    let target = Target { resource, namespace: NAMESPACE, name: "", subresource: "" };
    let text = document(&format!("https://{}", config.api.advertise), &ca);
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"kubeconfig": text},
        "metadata": {"name": NAME, "namespace": NAMESPACE}});
    match registry.create(&info(), &target, Body::Value(object)).await {
        Err(error) if error.reason == Reason::AlreadyExists => mend(registry, &target, &ca).await,
        other => other.map(|_| ()),
    }
}

async fn mend(registry: &Registry, target: &Target<'_>, ca: &str) -> Result<()> {
    let key = ObjectKey::new(GroupResource::new("", "configmaps"), NAMESPACE, NAME);
    let Some(found) = registry.peek(&key).map(|object| object.value()) else { return Ok(()) };
    let Some(text) = found["data"]["kubeconfig"].as_str().and_then(|text| with_ca(text, ca)) else { return Ok(()) };
    let body =
        json!({"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "data": {"kubeconfig": text}});
    let target = Target { name: NAME, ..target.clone() };
    registry.patch(&info(), &target, PatchKind::Merge, Body::Value(body)).await.map(|_| ())
}

/// As `kubeadm init` writes it.
fn document(server: &str, ca: &str) -> String {
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {server}\n  name: \"\"\n\
         contexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n",
        base64::engine::general_purpose::STANDARD.encode(ca)
    )
}

/// The same server with this CA; `None`: nothing is to be changed, or the text is none of ours.
fn with_ca(text: &str, ca: &str) -> Option<String> {
    let known: Value = serde_saphyr::from_str(text).ok()?;
    let server = known["clusters"][0]["cluster"]["server"].as_str()?;
    let wanted = document(server, ca);
    let own = document(server, &current_ca(&known)?);
    (text == own && text != wanted).then_some(wanted)
}

fn current_ca(known: &Value) -> Option<String> {
    let data = known["clusters"][0]["cluster"]["certificate-authority-data"].as_str()?;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).ok()?).ok()
}

fn info() -> RequestInfo {
    RequestInfo {
        user: UserInfo::internal("system:apiserver"),
        field_manager: "kontiki".to_owned(),
        field_validation: FieldValidation::Strict,
        ..RequestInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ca_follows_and_the_server_stays() {
        let text = document("https://a:6443", "old");
        assert_eq!(with_ca(&text, "old"), None);
        assert_eq!(with_ca(&text, "new"), Some(document("https://a:6443", "new")));
        // Somebody wrote it by hand.
        assert_eq!(with_ca(&text.replace("preferences: {}\n", ""), "new"), None);
        assert_eq!(with_ca("x", "new"), None);
    }
}
