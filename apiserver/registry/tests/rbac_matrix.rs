//! What every role that a cluster is born with lets its holder do: each role bound to somebody, and the evaluator
//! asked about every resource and verb. `UPDATE_EXPECT=1` rewrites the golden text.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::common::Harness;
use api_auth::authz::rbac::{Index, Objects, Rbac};
use api_auth::authz::{Authorizer, AuthzAttributes};
use api_machinery::{UserInfo, Value, object};
use api_registry::ListOptions;
use api_schema::Schema;
use expect_test::expect_file;
use serde_json::json;

/// What the API does, and what rules of Kubernetes ask for besides.
const VERBS: [&str; 16] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "approve",
    "attest",
    "bind",
    "escalate",
    "impersonate",
    "proxy",
    "sign",
    "use",
];

/// `group` and `resource[/subresource]`.
type Resource = (String, String);

async fn all(h: &Harness, plural: &str) -> Vec<Arc<Value>> {
    let path = format!("rbac.authorization.k8s.io/v1/{plural}");
    let list = h.list(&path, "", ListOptions::default()).await.expect("listed");
    list.objects.iter().map(|object| object.value()).collect()
}

fn strings<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn rules(role: &Value) -> &[Value] {
    role["rules"].as_array().map_or(&[], Vec::as_slice)
}

/// Everything served, and whatever rules name that is not.
fn resources(roles: &[Arc<Value>]) -> BTreeSet<Resource> {
    let mut all = BTreeSet::new();
    for resource in Schema::builtin().resources() {
        let group = resource.gv.group.to_string();
        all.insert((group.clone(), resource.plural.clone()));
        for sub in &resource.subresources {
            all.insert((group.clone(), format!("{}/{}", resource.plural, sub.name)));
        }
    }
    for rule in roles.iter().flat_map(|role| rules(role)) {
        for group in strings(rule, "apiGroups").filter(|group| *group != "*") {
            let named = strings(rule, "resources").filter(|resource| !resource.contains('*'));
            all.extend(named.map(|resource| (group.to_owned(), resource.to_owned())));
        }
    }
    all
}

/// The role as somebody holds it, in its namespace or everywhere.
struct Held {
    rbac: Arc<Rbac>,
    namespace: String,
}

impl Held {
    fn new(role: &Arc<Value>) -> Self {
        let namespace = object::namespace(role).to_owned();
        let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
        let binding = Arc::new(json!({"metadata": {"name": "b", "namespace": namespace},
            "roleRef": {"kind": kind, "name": object::name(role)}, "subjects": [{"kind": "User", "name": "u"}]}));
        let mut objects = Objects::default();
        match namespace.is_empty() {
            true => (objects.cluster_roles, objects.cluster_role_bindings) = (vec![role.clone()], vec![binding]),
            false => (objects.roles, objects.role_bindings) = (vec![role.clone()], vec![binding]),
        }
        let rbac = Arc::new(Rbac::default());
        rbac.update(Index::build(&objects));
        Self { rbac, namespace }
    }

    async fn may(&self, asked: AuthzAttributes) -> bool {
        let user = UserInfo { name: "u".to_owned(), ..UserInfo::default() };
        self.rbac.authorize(&AuthzAttributes { user, ..asked }).await.allowed()
    }

    async fn verbs(&self, (group, resource): &Resource, name: &str) -> Vec<&'static str> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let mut allowed = Vec::new();
        for verb in VERBS {
            let asked = AuthzAttributes {
                verb: verb.to_owned(),
                resource_request: true,
                group: group.clone(),
                resource: resource.to_owned(),
                subresource: subresource.to_owned(),
                namespace: self.namespace.clone(),
                name: name.to_owned(),
                ..AuthzAttributes::default()
            };
            if self.may(asked).await {
                allowed.push(verb);
            }
        }
        allowed
    }
}

fn shown((group, resource): &Resource, name: &str) -> String {
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let subresource = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    let name = if name.is_empty() { String::new() } else { format!(" {name:?}") };
    format!("{resource}{group}{subresource}{name}")
}

async fn lines(role: &Arc<Value>, universe: &BTreeSet<Resource>) -> Vec<String> {
    let held = Held::new(role);
    let unheard_of = ("acme.example".to_owned(), "things/parts".to_owned());
    if held.verbs(&unheard_of, "").await.len() == VERBS.len() {
        return vec!["everything".to_owned()];
    }
    let mut out = Vec::new();
    let names: BTreeSet<&str> = rules(role).iter().flat_map(|rule| strings(rule, "resourceNames")).collect();
    for resource in universe {
        let any = held.verbs(resource, "").await;
        if !any.is_empty() {
            out.push(format!("{}: {}", shown(resource, ""), any.join(" ")));
        }
        for name in &names {
            let more: Vec<_> =
                held.verbs(resource, name).await.into_iter().filter(|verb| !any.contains(verb)).collect();
            if !more.is_empty() {
                out.push(format!("{}: {}", shown(resource, name), more.join(" ")));
            }
        }
    }
    out
}

async fn paths(role: &Arc<Value>, all: &BTreeSet<String>) -> Vec<String> {
    let held = Held::new(role);
    let mut out = Vec::new();
    for path in all {
        let mut allowed = Vec::new();
        for verb in ["get", "post", "put", "delete"] {
            let asked = AuthzAttributes { verb: verb.to_owned(), path: path.clone(), ..AuthzAttributes::default() };
            if held.may(asked).await {
                allowed.push(verb);
            }
        }
        if !allowed.is_empty() {
            out.push(format!("{path}: {}", allowed.join(" ")));
        }
    }
    out
}

#[tokio::test]
async fn bootstrap_roles() {
    let h = Harness::new().await;
    h.registry.bootstrap().await.expect("done");
    let mut roles = all(&h, "clusterroles").await;
    roles.extend(all(&h, "roles").await);
    let universe = resources(&roles);
    let urls = roles.iter().flat_map(|role| rules(role)).flat_map(|rule| strings(rule, "nonResourceURLs"));
    let mut all_paths: BTreeSet<String> = urls.filter(|url| *url != "*").map(|url| url.replace('*', "x")).collect();
    all_paths.extend(["/", "/kontiki/v1/status", "/debug/pprof"].map(str::to_owned));
    let mut out = String::new();
    for role in &roles {
        let namespace = object::namespace(role);
        let place = if namespace.is_empty() { String::new() } else { format!(" in {namespace}") };
        out.push_str(&format!("{}{place}\n", object::name(role)));
        for line in lines(role, &universe).await.into_iter().chain(paths(role, &all_paths).await) {
            out.push_str(&format!("  {line}\n"));
        }
    }
    expect_file!["./rbac_matrix.txt"].assert_eq(&out);
}

/// Who holds which of them from the start.
#[tokio::test]
async fn bootstrap_bindings() {
    let h = Harness::new().await;
    h.registry.bootstrap().await.expect("done");
    let mut bindings = all(&h, "clusterrolebindings").await;
    bindings.extend(all(&h, "rolebindings").await);
    let mut out = String::new();
    for binding in &bindings {
        let text = |path: &str| object::str_at(binding, path);
        let subjects = binding["subjects"].as_array().into_iter().flatten().map(|subject| {
            let of = |field: &str| object::str_at(subject, field);
            let namespace = if of("namespace").is_empty() { String::new() } else { format!("{}/", of("namespace")) };
            format!("{} {namespace}{}", of("kind"), of("name"))
        });
        let subjects: Vec<String> = subjects.collect();
        let namespace = object::namespace(binding);
        let place = if namespace.is_empty() { String::new() } else { format!(" in {namespace}") };
        let role = format!("{} {}", text("roleRef.kind"), text("roleRef.name"));
        out.push_str(&format!("{}{place}: {role} to {}\n", object::name(binding), subjects.join(", ")));
    }
    expect_file!["./rbac_bindings.txt"].assert_eq(&out);
}

/// What the roles above add up to for those who matter most.
#[tokio::test]
async fn nobody_gets_more_than_upstream_gives() {
    let h = Harness::new().await;
    h.registry.bootstrap().await.expect("done");
    let objects = Objects {
        cluster_roles: all(&h, "clusterroles").await,
        roles: all(&h, "roles").await,
        cluster_role_bindings: all(&h, "clusterrolebindings").await,
        role_bindings: all(&h, "rolebindings").await,
    };
    let rbac = Arc::new(Rbac::default());
    rbac.update(Index::build(&objects));
    let stranger = UserInfo::anonymous();
    let guest =
        UserInfo { name: "ann".to_owned(), groups: vec!["system:authenticated".to_owned()], ..UserInfo::default() };
    let path = |user: &UserInfo, path: &str| AuthzAttributes {
        user: user.clone(),
        verb: "get".to_owned(),
        path: path.to_owned(),
        ..AuthzAttributes::default()
    };
    // a28, a29: strangers see health and version, guests also discovery and the schema.
    for (asked, allowed) in [
        (path(&stranger, "/healthz"), true),
        (path(&stranger, "/version"), true),
        (path(&stranger, "/api"), false),
        (path(&stranger, "/openapi/v3"), false),
        (path(&stranger, "/metrics"), false),
        (path(&stranger, "/openid/v1/jwks"), false),
        (path(&guest, "/api"), true),
        (path(&guest, "/openapi/v3"), true),
        (path(&guest, "/metrics"), false),
        (path(&guest, "/kontiki/v1/status"), false),
        (path(&guest, "/openid/v1/jwks"), false),
    ] {
        assert_eq!(rbac.authorize(&asked).await.allowed(), allowed, "{asked:?}");
    }
}
