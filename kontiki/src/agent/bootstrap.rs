//! How a node gets its client certificate: as any kubelet does, by a certificate signing request that the control
//! plane approves and signs. Whom to trust is learned from `cluster-info`, which the join token's secret signs.

use std::time::Duration;

use api_machinery::jws;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::authority::{Request, has_public_key_hash, new_csr, public_key_hash};
use pki::join::JoinToken;
use serde_json::{Value, json};

use crate::Failure;
use crate::client::Client;

const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How often a request is looked at until its certificate is there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A minute: controllers may have to find a new leader first.
const LOOKS: u32 = 240;
/// The signature of a new token is made by a controller.
const SIGNATURE_TRIES: u32 = 40;

/// A client that trusts the cluster of the token, and its CA.
pub(super) async fn trusted(url: &str, token: &JoinToken) -> Result<(Client, String), Failure> {
    let mut tries = 1;
    let ca = loop {
        let answer = Client::unverified(url)?.get(CLUSTER_INFO).await?.ok()?;
        match signed_ca(&answer, token)? {
            Some(ca) => break ca,
            None if tries >= SIGNATURE_TRIES => {
                return Err(
                    format!("{url} does not know the token {}: wrong cluster, or it has expired", token.id).into()
                );
            }
            None => tries += 1,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    if !has_public_key_hash(&ca, &token.ca_hash)? {
        let (hash, expected) = (public_key_hash(&ca)?, &token.ca_hash);
        return Err(
            format!("the CA of {url} has the hash {hash}, the token says {expected}: wrong server or token").into()
        );
    }
    Ok((Client::with_token(url, &ca, &token.bearer())?, ca))
}

/// The CA of a signed `cluster-info`; `None` when this token has not signed it yet.
fn signed_ca(cluster_info: &Value, token: &JoinToken) -> Result<Option<String>, Failure> {
    let data = &cluster_info["data"];
    let text = data["kubeconfig"].as_str().ok_or("cluster-info has no kubeconfig")?;
    let Some(signature) = data[format!("jws-kubeconfig-{}", token.id)].as_str() else { return Ok(None) };
    if signature != jws::detached(text, &token.id, &token.secret) {
        return Err("the signature of cluster-info is not the token's: wrong server or wrong token".into());
    }
    let document: Value = serde_saphyr::from_str(text)?;
    let ca = &document["clusters"][0]["cluster"]["certificate-authority-data"];
    let ca = STANDARD.decode(ca.as_str().ok_or("cluster-info names no CA")?)?;
    Ok(Some(String::from_utf8(ca)?))
}

/// A new key and a certificate for it, PEM, in the name of whoever the client is.
pub(super) async fn client_certificate(client: &Client, node: &str) -> Result<(String, String), Failure> {
    let asked = Request {
        common_name: format!("system:node:{node}"),
        organizations: vec!["system:nodes".to_owned()],
        ..Request::default()
    };
    let (key, request) = new_csr(&asked, crate::now())?;
    let body = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "csr-"},
        "spec": {"request": STANDARD.encode(request), "signerName": SIGNER, "usages": ["digital signature", "client auth"]},
    });
    let made = client.post(REQUESTS, &body).await?.ok()?;
    let name = made["metadata"]["name"].as_str().ok_or("the server did not name the request")?;
    for _ in 0..LOOKS {
        if let Some(certificate) = issued(&client.get(&format!("{REQUESTS}/{name}")).await?.ok()?)? {
            return Ok((key, certificate));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(format!("the certificate signing request {name} was not answered in time: is it approved?").into())
}

/// The certificate of a request; `None` until it is there.
fn issued(request: &Value) -> Result<Option<String>, Failure> {
    let mut conditions = request["status"]["conditions"].as_array().into_iter().flatten();
    if let Some(condition) = conditions.find(|one| one["type"] == "Denied" || one["type"] == "Failed") {
        let (kind, why) = (&condition["type"], condition["message"].as_str().unwrap_or("no reason is given"));
        return Err(format!("the certificate signing request is {kind}: {why}").into());
    }
    let Some(certificate) = request["status"]["certificate"].as_str().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(String::from_utf8(STANDARD.decode(certificate)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        let hash = format!("sha256:{}", "0".repeat(64));
        JoinToken::parse(&format!("abcdef.0123456789abcdef:{hash}")).expect("a token")
    }

    #[test]
    fn believes_what_the_token_signed_and_nothing_else() {
        let text = format!(
            "clusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://a:6443\n  name: \"\"\n",
            STANDARD.encode("the CA")
        );
        let info = |signature: &str| json!({"data": {"kubeconfig": text, "jws-kubeconfig-abcdef": signature}});
        let good = jws::detached(&text, "abcdef", "0123456789abcdef");
        assert_eq!(signed_ca(&info(&good), &token()).expect("good"), Some("the CA".to_owned()));
        let forged = jws::detached(&text, "abcdef", "another secret..");
        assert!(signed_ca(&info(&forged), &token()).is_err());
        let mut changed = info(&good);
        changed["data"]["kubeconfig"] = text.replace("a:6443", "b:6443").into();
        assert!(signed_ca(&changed, &token()).is_err());
        assert_eq!(signed_ca(&json!({"data": {"kubeconfig": text}}), &token()).expect("good"), None, "not signed yet");
    }

    #[test]
    fn waits_for_a_certificate_and_no_longer_than_there_can_be_one() {
        let said = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True", "message": "no"}]}});
        assert_eq!(issued(&json!({"status": {}})).expect("fine"), None);
        assert_eq!(issued(&said("Approved")).expect("fine"), None);
        assert!(issued(&said("Denied")).is_err() && issued(&said("Failed")).is_err());
        let done = json!({"status": {"certificate": STANDARD.encode("PEM")}});
        assert_eq!(issued(&done).expect("fine"), Some("PEM".to_owned()));
    }
}
