//! A cluster's own roles and bindings after somebody has been at them, and a replica starts.

use crate::common::Harness;
use api_admission::View as _;
use api_machinery::{Value, object};
use api_registry::DeleteOptions;
use serde_json::json;

const ROLES: &str = "rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "rbac.authorization.k8s.io/v1/clusterrolebindings";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

async fn start(h: &Harness) {
    h.registry.refresh().await.expect("level");
    h.registry.bootstrap().await.expect("done");
    h.registry.refresh().await.expect("level");
}

fn rules(role: &Value) -> usize {
    role["rules"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn what_was_taken_is_given_back_unless_it_is_kept() {
    let h = Harness::new().await;
    start(&h).await;
    let whole = rules(&h.get(ROLES, "system:kube-scheduler").await.expect("there"));
    let own = json!({"verbs": ["get"], "apiGroups": ["acme.example"], "resources": ["things"]});
    h.merge(
        ROLES,
        "system:kube-scheduler",
        json!({"rules": [own], "metadata": {"labels": {"kubernetes.io/bootstrapping": null}}}),
    )
    .await
    .expect("written");
    let keep = json!({"rules": [], "metadata": {"annotations": {AUTOUPDATE: "false"}}});
    h.merge(ROLES, "system:node-proxier", keep.clone()).await.expect("written");
    h.merge(BINDINGS, "system:node-proxier", json!({"subjects": null, "metadata": keep["metadata"]}))
        .await
        .expect("written");
    h.merge(BINDINGS, "system:kube-dns", json!({"subjects": null})).await.expect("written");
    start(&h).await;
    let scheduler = h.get(ROLES, "system:kube-scheduler").await.expect("there");
    assert_eq!(rules(&scheduler), whole + 1, "and what was added stays");
    assert_eq!(object::label(&scheduler, "kubernetes.io/bootstrapping"), Some("rbac-defaults"));
    assert_eq!(rules(&h.get(ROLES, "system:node-proxier").await.expect("there")), 0);
    let kept = h.get(BINDINGS, "system:node-proxier").await.expect("there");
    assert_eq!(kept["subjects"].as_array().map_or(0, Vec::len), 0);
    let mended = h.get(BINDINGS, "system:kube-dns").await.expect("there");
    assert_eq!(mended["subjects"][0]["name"], "kube-dns");
    let revision = object::resource_version(&scheduler).to_owned();
    start(&h).await;
    let again = h.get(ROLES, "system:kube-scheduler").await.expect("there");
    assert_eq!(object::resource_version(&again), revision, "nothing is written when nothing is missing");
}

#[tokio::test]
async fn a_binding_to_another_role_is_made_anew() {
    let h = Harness::new().await;
    start(&h).await;
    let elsewhere = |more: Value| {
        let mut binding = json!({"metadata": {"name": "system:kube-dns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]});
        binding["metadata"]["annotations"] = more;
        binding
    };
    for (annotations, role) in [(json!({}), "system:kube-dns"), (json!({AUTOUPDATE: "false"}), "cluster-admin")] {
        h.delete(BINDINGS, "system:kube-dns", DeleteOptions::default()).await.expect("deleted");
        h.create(BINDINGS, "", elsewhere(annotations)).await.expect("created");
        start(&h).await;
        let binding = h.get(BINDINGS, "system:kube-dns").await.expect("there");
        assert_eq!(object::str_at(&binding, "roleRef.name"), role);
        let eve = binding["subjects"].as_array().expect("subjects").iter().any(|subject| subject["name"] == "eve");
        assert_eq!(eve, role == "cluster-admin", "{binding}");
    }
}

/// The controller's are the rules of roles that gather; a start gives none back.
#[tokio::test]
async fn gathered_rules_are_left_alone() {
    let h = Harness::new().await;
    start(&h).await;
    assert!(rules(&h.get(ROLES, "admin").await.expect("there")) > 10, "a new cluster need not wait");
    h.merge(
        ROLES,
        "admin",
        json!({"rules": [], "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"own": "true"}}]}}),
    )
    .await
    .expect("written");
    start(&h).await;
    let admin = h.get(ROLES, "admin").await.expect("there");
    assert_eq!(rules(&admin), 0);
    let selectors = admin["aggregationRule"]["clusterRoleSelectors"].as_array().expect("selectors");
    assert_eq!(selectors.len(), 2, "{admin}");
}
