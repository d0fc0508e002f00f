//! Writes that imply others: creating by PUT, granting by roles and bindings.

use std::sync::Arc;

use crate::common::{Harness, refusal, target};
use api_auth::authz::{Authorizer, AuthzAttributes, Decision};
use api_codec::patch::PatchKind;
use api_machinery::{ApiError, UserInfo, Value, object};
use api_registry::{Authority, Body, DeleteOptions, RequestInfo, Written};
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

const POLICIES: &str = "admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const POLICY_BINDINGS: &str = "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

fn policy(param_kind: (&str, &str)) -> Value {
    let (api_version, kind) = param_kind;
    let rule =
        json!({"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["foos"]});
    json!({"metadata": {"name": "p"}, "spec": {"paramKind": {"apiVersion": api_version, "kind": kind},
        "matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]}})
}

fn policy_binding(policy: &str, mut reference: Value) -> Value {
    reference["parameterNotFoundAction"] = "Deny".into();
    json!({"metadata": {"name": "b"},
        "spec": {"policyName": policy, "paramRef": reference, "validationActions": ["Deny"]}})
}

/// What is forbidden, and why.
fn forbidden<T>(result: Result<T, ApiError>) -> String {
    let refused = refusal(result);
    let (head, detail) = refused.split_once("is invalid: ").unwrap_or(("", refused.as_str()));
    assert!(head.starts_with("422 Invalid: "), "{refused}");
    detail.to_owned()
}

#[tokio::test]
async fn who_names_a_kind_of_parameters_must_be_able_to_read_it() {
    let h = Harness::new().await;
    let maps = || policy(("v1", "ConfigMap"));
    let refused = refusal(create(&h, may("list configmaps/*"), POLICIES, "", maps()).await);
    assert_eq!(
        refused,
        "422 Invalid: ValidatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: spec.paramKind: \
         Forbidden: user &{ann  [dev] map[]} must have \"get\" permission on all objects of the referenced paramKind \
         (kind=ConfigMap, apiVersion=v1)"
    );
    // Nobody is asked about what is not valid.
    let mut bad = maps();
    bad["spec"]["failurePolicy"] = "Perhaps".into();
    let refused = refusal(create(&h, Rights::default(), POLICIES, "", bad).await);
    assert!(refused.contains("spec.failurePolicy") && !refused.contains("spec.paramKind"), "{refused}");
    create(&h, may("get configmaps/*"), POLICIES, "", maps()).await.expect("may read all");
    let changed = async |rights: Rights, field: &str, value: Value| {
        let mut policy = (*h.get(POLICIES, "p").await.expect("there")).clone();
        policy["spec"][field] = value;
        update(&h, rights, POLICIES, "p", policy).await
    };
    let ignores = changed(Rights::default(), "failurePolicy", "Ignore".into()).await;
    ignores.expect("the kind was named before");
    let secrets = || json!({"apiVersion": "v1", "kind": "Secret"});
    let refused = forbidden(changed(may("get configmaps/*"), "paramKind", secrets()).await);
    assert!(refused.ends_with("(kind=Secret, apiVersion=v1)"), "{refused}");
    changed(may("get secrets/*"), "paramKind", secrets()).await.expect("may read the other");
    // Of a kind that nobody knows it may be anything in its group.
    let unknown = || json!({"apiVersion": "example.com/v1", "kind": "Limit"});
    assert!(forbidden(changed(may("get limits/*"), "paramKind", unknown()).await).starts_with("spec.paramKind"));
    changed(may("get */*"), "paramKind", unknown()).await.expect("may read everything");
    let masters = UserInfo { groups: vec![UserInfo::MASTERS.to_owned()], ..UserInfo::default() };
    let asker = RequestInfo { user: masters, ..info(Rights::default()) };
    let patch = Body::Value(json!({"spec": {"paramKind": secrets()}}));
    h.registry.patch(&asker, &target(POLICIES, "p"), PatchKind::Merge, patch).await.expect("masters may");
}

#[tokio::test]
async fn who_binds_parameters_must_be_able_to_read_them() {
    let h = Harness::new().await;
    h.create(POLICIES, "", policy(("v1", "ConfigMap"))).await.expect("created");
    let named = |policy: &str| policy_binding(policy, json!({"name": "limits", "namespace": "n"}));
    let selected = || policy_binding("p", json!({"selector": {"matchLabels": {"a": "b"}}}));
    let bind = async |rights: Rights, body: Value| create(&h, rights, POLICY_BINDINGS, "", body).await;
    assert_eq!(
        forbidden(bind(may("get configmaps/others"), named("p")).await),
        "spec.paramRef: Forbidden: user &{ann  [dev] map[]} does not have \"get\" permission on the object referenced by \
         paramRef"
    );
    assert_eq!(
        forbidden(bind(may("get configmaps/"), selected()).await),
        "spec.paramRef: Forbidden: user &{ann  [dev] map[]} does not have \"list\" permission on the object referenced \
         by paramRef"
    );
    // Of a policy that is not there nobody knows the kind.
    assert_eq!(
        forbidden(bind(may("get configmaps/limits"), named("none")).await),
        "spec.paramRef: Forbidden: unable to get policy none to determine minimum required permissions and user &{ann  \
         [dev] map[]} does not have \"get\" permission for all groups, versions and resources"
    );
    let rebind = async |rights: Rights, body: Value| {
        bind(rights, body).await.expect("may read them");
        h.delete(POLICY_BINDINGS, "b", DeleteOptions::default()).await.expect("deleted");
    };
    rebind(may("get */limits"), named("none")).await;
    rebind(may("list configmaps/"), selected()).await;
    bind(may("get configmaps/limits"), named("p")).await.expect("may read them");
    // An update that leaves the reference as it is asks as well, as upstream.
    let mut same = (*h.get(POLICY_BINDINGS, "b").await.expect("there")).clone();
    same["metadata"]["labels"] = json!({"a": "b"});
    let refused = forbidden(update(&h, Rights::default(), POLICY_BINDINGS, "b", same.clone()).await);
    assert!(refused.starts_with("spec.paramRef: Forbidden: user"), "{refused}");
    update(&h, may("get configmaps/limits"), POLICY_BINDINGS, "b", same).await.expect("may read them");
    let mut without = (*h.get(POLICY_BINDINGS, "b").await.expect("there")).clone();
    without["spec"].as_object_mut().expect("a spec").remove("paramRef");
    update(&h, Rights::default(), POLICY_BINDINGS, "b", without).await.expect("binds none");
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
