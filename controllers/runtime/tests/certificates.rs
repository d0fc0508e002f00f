//! TLS bootstrap from the request to the certificate, through the registry and the controllers.

use std::sync::Arc;

use crate::common::{Cluster, condition, target};
use api_auth::authz::{Authorizer, AuthzAttributes, Decision};
use api_machinery::{UserInfo, Value, object};
use api_registry::{Authority, Body, RequestInfo};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use controller_runtime::{Chosen, Powers, Signer, Signing};
use jiff::Timestamp;
use pki::authority::{Authority as Ca, Request, new_csr};
use serde_json::json;

const REQUESTS: &str = "certificates.k8s.io/v1/certificatesigningrequests";
const BOOTSTRAPPERS: &str = "system:bootstrappers";

/// Bootstrap tokens may bring in nodes, and nobody else.
struct Bootstrappers;

#[async_trait::async_trait]
impl Authorizer for Bootstrappers {
    async fn authorize(&self, asked: &AuthzAttributes) -> Decision {
        let fits = asked.verb == "create" && asked.subresource == "nodeclient" && asked.user.is_in(BOOTSTRAPPERS);
        let reason = String::new();
        if fits { Decision::Allow { reason } } else { Decision::NoOpinion { reason } }
    }
    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> (Vec<Value>, Vec<Value>) {
        (Vec::new(), Vec::new())
    }
}

struct Here(Ca);

impl Signer for Here {
    fn sign(&self, signing: &Signing, now: Timestamp) -> Result<String, String> {
        let order =
            pki::signing::Order { request: &signing.request, usages: &signing.usages, seconds: signing.seconds };
        pki::signing::sign(&self.0, &order, now, [7; pki::signing::SERIAL_BYTES]).map_err(|error| error.to_string())
    }
}

async fn cluster() -> (Cluster, crate::common::Replica) {
    let cluster = Cluster::start().await;
    let ca = Ca::create("kontiki", cluster.registry.config.clock.now()).expect("a CA");
    let powers = Powers { authority: Some(Authority(Arc::new(Bootstrappers))), signer: Some(Arc::new(Here(ca))) };
    let replica = cluster.replica_with("one", powers, Chosen::default()).await;
    (cluster, replica)
}

async fn ask(cluster: &Cluster, group: &str, request: &Request, signer: &str, usages: &[&str]) -> String {
    let (_, csr) = new_csr(request, cluster.registry.config.clock.now()).expect("a request");
    let user =
        UserInfo { name: "system:bootstrap:abcdef".into(), groups: vec![group.to_owned()], ..UserInfo::default() };
    let body = json!({"metadata": {"generateName": "csr-"}, "spec": {
        "request": STANDARD.encode(csr), "signerName": signer, "usages": usages}});
    let info = RequestInfo { user, ..RequestInfo::default() };
    let made = cluster.registry.create(&info, &target(REQUESTS, ""), Body::Value(body)).await.expect("created");
    object::name(&made.object).to_owned()
}

fn node() -> Request {
    Request { common_name: "system:node:n1".into(), organizations: vec!["system:nodes".into()], ..Request::default() }
}

const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_gets_its_certificate_and_a_stranger_does_not() {
    let (cluster, _replica) = cluster().await;
    let usages = ["digital signature", "client auth"];
    let stranger = ask(&cluster, "dev", &node(), KUBELET, &usages).await;
    let kubelet = ask(&cluster, BOOTSTRAPPERS, &node(), KUBELET, &usages).await;
    let read = async |name: &str| cluster.get(REQUESTS, name).await.expect("there");
    cluster
        .eventually("a certificate", || async {
            !object::str_at(&*read(&kubelet).await, "status.certificate").is_empty()
        })
        .await;
    let done = read(&kubelet).await;
    let approved = condition(&done, "Approved").expect("approved");
    assert_eq!(approved["reason"], "AutoApproved");
    let pem = STANDARD.decode(object::str_at(&done, "status.certificate")).expect("base64");
    let pem = String::from_utf8(pem).expect("PEM");
    pki::authority::expiry(&pem).expect("a certificate");
    assert!(condition(&*read(&stranger).await, "Approved").is_none(), "nobody lets this one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_signer_does_not_sign_fails_with_the_reason() {
    let (cluster, _replica) = cluster().await;
    let jane = Request { common_name: "jane".into(), ..Request::default() };
    let usages = ["client auth", "server auth"];
    let name = ask(&cluster, "dev", &jane, "kubernetes.io/kube-apiserver-client", &usages).await;
    let conditions = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    cluster.merge(REQUESTS, &format!("{name}:approval"), conditions).await;
    let read = async || cluster.get(REQUESTS, &name).await.expect("there");
    cluster.eventually("a verdict", || async { condition(&*read().await, "Failed").is_some() }).await;
    let failed = read().await;
    let why = condition(&failed, "Failed").expect("failed");
    assert_eq!(
        (&why["reason"], &why["message"]),
        (&json!("SignerValidationFailure"), &json!("invalid usages for client certificate: [client auth server auth]"),)
    );
}
