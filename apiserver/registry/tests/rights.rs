//! Writes that imply others: creating by PUT, granting by roles and bindings.

use std::sync::Arc;

use crate::common::{Harness, refusal, target};
use api_auth::authz::{Authorizer, AuthzAttributes, Decision};
use api_codec::patch::PatchKind;
use api_machinery::{ApiError, UserInfo, Value, object};
use api_registry::{Authority, Body, RequestInfo, Written};
use serde_json::json;

const ROLES: &str = "rbac.authorization.k8s.io/v1/roles";
const CLUSTER_ROLES: &str = "rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "rbac.authorization.k8s.io/v1/rolebindings";
const CLUSTER_BINDINGS: &str = "rbac.authorization.k8s.io/v1/clusterrolebindings";

/// Holds rules, and may do what is listed as `verb resource/name`.
#[derive(Default)]
struct Rights {
    rules: Vec<Value>,
    may: Vec<&'static str>,
}

#[async_trait::async_trait]
impl Authorizer for Rights {
    async fn authorize(&self, asked: &AuthzAttributes) -> Decision {
        let text = format!("{} {}/{}", asked.verb, asked.resource, asked.name);
        match self.may.contains(&text.as_str()) {
            true => Decision::Allow { reason: String::new() },
            false => Decision::NoOpinion { reason: String::new() },
        }
    }
    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> (Vec<Value>, Vec<Value>) {
        (self.rules.clone(), Vec::new())
    }
}

fn info(rights: Rights) -> RequestInfo {
    let user = UserInfo { name: "ann".to_owned(), groups: vec!["dev".to_owned()], ..UserInfo::default() };
    RequestInfo { user, authority: Some(Authority(Arc::new(rights))), ..RequestInfo::default() }
}

async fn create(h: &Harness, rights: Rights, path: &str, place: &str, body: Value) -> Result<Written, ApiError> {
    h.registry.create(&info(rights), &target(path, place), Body::Value(body)).await
}

async fn update(h: &Harness, rights: Rights, path: &str, place: &str, body: Value) -> Result<Written, ApiError> {
    h.registry.update(&info(rights), &target(path, place), Body::Value(body)).await
}

fn pods(verbs: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [""], "resources": ["pods"]})
}

fn role(rules: Value) -> Value {
    json!({"metadata": {"name": "r"}, "rules": rules})
}

fn binding(kind: &str, name: &str) -> Value {
    json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
           "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"}]})
}

fn holding(rules: &[Value]) -> Rights {
    Rights { rules: rules.to_vec(), ..Rights::default() }
}

fn may(what: &'static str) -> Rights {
    Rights { may: vec![what], ..Rights::default() }
}

#[tokio::test]
async fn a_put_that_creates_needs_the_right_to_create() {
    let h = Harness::new().await;
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}});
    let at = "coordination.k8s.io/v1/leases";
    let refused = refusal(update(&h, Rights::default(), at, "n/l", lease.clone()).await);
    assert_eq!(
        refused,
        "403 Forbidden: leases.coordination.k8s.io \"l\" is forbidden: User \"ann\" cannot create resource \"leases\" \
         in API group \"coordination.k8s.io\" in the namespace \"n\""
    );
    let made = update(&h, may("create leases/l"), at, "n/l", lease).await.expect("created");
    assert!(made.created);
    let again = (*made.object).clone();
    update(&h, Rights::default(), at, "n/l", again).await.expect("what is there needs no more than update");
}

#[tokio::test]
async fn a20_role_with_more_rights_is_refused() {
    let h = Harness::new().await;
    let wanted = || role(json!([pods(&["get", "list"])]));
    let refused = refusal(create(&h, holding(&[pods(&["get"])]), ROLES, "n/", wanted()).await);
    assert_eq!(
        refused,
        "403 Forbidden: roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"ann\" (groups=[\"dev\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], \
         Verbs:[\"list\"]}"
    );
    create(&h, holding(&[pods(&["*"])]), ROLES, "n/", wanted()).await.expect("held");
    let more = role(json!([pods(&["get", "list", "delete"])]));
    assert!(refusal(update(&h, holding(&[pods(&["get"])]), ROLES, "n/r", more.clone()).await).starts_with("403"));
    update(&h, may("escalate roles/r"), ROLES, "n/r", more).await.expect("may escalate");
    // What grants nothing needs no right: the garbage collector's finalizers.
    let mut held = (*h.get(ROLES, "n/r").await.expect("there")).clone();
    held["metadata"]["finalizers"] = json!(["a.example/x"]);
    update(&h, Rights::default(), ROLES, "n/r", held.clone()).await.expect("nothing granted");
    held["metadata"]["labels"] = json!({"a": "b"});
    held["metadata"]["resourceVersion"] = "".into();
    assert!(refusal(update(&h, Rights::default(), ROLES, "n/r", held).await).starts_with("403"));
    // Whoever gathers rules could gather all.
    let gathering = json!({"metadata": {"name": "r"}, "rules": [],
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    let refused = refusal(create(&h, holding(&[pods(&["*"])]), CLUSTER_ROLES, "", gathering).await);
    assert!(refused.ends_with("must have cluster-admin privileges to use the aggregationRule"), "{refused}");
}

#[tokio::test]
async fn a20_binding_to_a_role_with_more_rights_is_refused() {
    let h = Harness::new().await;
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    h.create(CLUSTER_ROLES, "", json!({"metadata": {"name": "admin"}, "rules": [all]})).await.expect("created");
    h.create(ROLES, "n/", role(json!([pods(&["get"])]))).await.expect("created");
    let refused = refusal(create(&h, holding(&[pods(&["*"])]), BINDINGS, "n/", binding("ClusterRole", "admin")).await);
    assert!(refused.ends_with(r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#), "{refused}");
    let refused = refusal(create(&h, Rights::default(), BINDINGS, "n/", binding("Role", "none")).await);
    assert_eq!(refused, r#"404 NotFound: roles.rbac.authorization.k8s.io "none" not found"#);
    let bound = create(&h, holding(&[pods(&["get"])]), BINDINGS, "n/", binding("Role", "r")).await.expect("held");
    assert_eq!(object::name(&bound.object), "b");
    let bind = || may("bind clusterroles/admin");
    create(&h, bind(), CLUSTER_BINDINGS, "", binding("ClusterRole", "admin")).await.expect("may bind");
    let mut more = binding("ClusterRole", "admin");
    more["subjects"][0]["name"] = "bob".into();
    let refused = update(&h, holding(&[pods(&["*"])]), CLUSTER_BINDINGS, "b", more.clone()).await;
    assert!(refusal(refused).starts_with("403 Forbidden: clusterrolebindings"));
    update(&h, bind(), CLUSTER_BINDINGS, "b", more).await.expect("may bind");
}

/// Every way to write a role or a binding asks the same.
#[tokio::test]
async fn a20_no_way_of_writing_goes_around() {
    let h = Harness::new().await;
    h.create(ROLES, "n/", role(json!([pods(&["get"])]))).await.expect("created");
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    h.create(CLUSTER_ROLES, "", json!({"metadata": {"name": "admin"}, "rules": [all]})).await.expect("created");
    h.create(BINDINGS, "n/", binding("ClusterRole", "admin")).await.expect("created");
    let patch = async |path: &str, place: &str, kind: PatchKind, body: Value| {
        let asker = info(holding(&[pods(&["get"])]));
        h.registry.patch(&asker, &target(path, place), kind, Body::Value(body)).await
    };
    let rules = json!([pods(&["get", "delete"])]);
    let merge = json!({"rules": rules});
    let steps = json!([{"op": "add", "path": "/rules/0/verbs/-", "value": "delete"}]);
    let more = json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"},
        {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]);
    for (path, place, kind, body) in [
        (ROLES, "n/r", PatchKind::Merge, merge.clone()),
        (ROLES, "n/r", PatchKind::Strategic, merge),
        (ROLES, "n/r", PatchKind::Json, steps),
        (BINDINGS, "n/b", PatchKind::Merge, json!({"subjects": more})),
        (BINDINGS, "n/b", PatchKind::Strategic, json!({"subjects": more})),
        // A label by which another role's rules would become the asker's, or the asker's would become another's.
        (CLUSTER_ROLES, "admin", PatchKind::Merge, json!({"metadata": {"labels": {"to-mine": "true"}}})),
    ] {
        let refused = refusal(patch(path, place, kind, body.clone()).await);
        assert!(refused.starts_with("403 Forbidden"), "{path} {kind:?} {body}: {refused}");
    }
    let applied = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "r", "namespace": "n"}, "rules": rules});
    let asker = RequestInfo { field_manager: "me".to_owned(), ..info(holding(&[pods(&["get"])])) };
    let refused = refusal(h.registry.apply(&asker, &target(ROLES, "n/r"), Body::Value(applied), true).await);
    assert!(refused.starts_with("403 Forbidden"), "apply: {refused}");
    // What is bound to cannot be exchanged, whoever asks.
    let elsewhere = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}});
    let refused = refusal(h.merge(BINDINGS, "n/b", elsewhere).await);
    assert!(refused.starts_with("422") && refused.contains("cannot change roleRef"), "{refused}");
}
