//! Ways around what is admitted, what is valid, and what only the server says.

mod addresses;
mod objects;
mod policies;
mod profiles;

use serde_json::{Value, json};
use system_tests::client::{Answer, Client};

use crate::world::{Way, World, soon};

pub(crate) use addresses::{
    a42_services_take_no_foreign_addresses, a43_endpoints_on_forbidden_addresses, a44_addresses_with_leading_zeros,
};
pub(crate) use objects::{
    a45_pods_go_before_network_policies, a46_owners_across_namespaces, a47_metadata_is_the_servers,
};
pub(crate) use policies::{
    a38_policies_look_at_every_container, a39_every_path_is_admitted, a41_versions_do_not_skip_policies,
};
pub(crate) use profiles::a48_hosts_and_profiles_of_restricted_pods;

const NAMESPACES: &str = "/api/v1/namespaces";
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

fn forbidden(answer: &Answer, why: &str, what: &str) {
    let right = answer.code == 403 && answer.status().contains(why);
    assert!(right, "{what}: not 403 {why:?} but {}", answer.status());
}

fn invalid(answer: &Answer, what: &str) {
    assert_eq!(answer.code, 422, "{what}: {}", answer.status());
}

fn done(answer: &Answer, what: &str) {
    assert!(matches!(answer.code, 200..=202), "{what}: {}", answer.status());
}

/// Sends a change in all ways; each must be forbidden for this.
async fn forbidden_in_all_ways(client: &Client, target: &str, ways: &[Way], why: &str) {
    for way in ways {
        forbidden(&way.send(client, target).await, why, &format!("{} of {target}", way.name));
    }
}

/// A user who has one of the roles of every cluster, in one namespace.
async fn user_as(world: &World, name: &str, role: &str, namespace: &str) -> Client {
    world.admin.bind(Some(namespace), "ClusterRole", role, name).await;
    world.level().await;
    world.user(name)
}

/// A container that every namespace lets in.
fn container(name: &str, more: Value) -> Value {
    let mut all = json!({"name": name, "image": "i",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    put(&mut all, &more);
    all
}

/// The same of a pod.
fn restricted(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container("c", json!({}))]}})
}

/// Puts fields, and fields of fields, into an object; `null` takes one away.
fn put(object: &mut Value, fields: &Value) {
    for (field, value) in fields.as_object().into_iter().flatten() {
        if value.is_object() && object.get(field).is_some_and(Value::is_object) {
            put(&mut object[field], value);
        } else if value.is_null() {
            object.as_object_mut().map(|map| map.remove(field));
        } else {
            object[field] = value.clone();
        }
    }
}

async fn until_some(client: &Client, target: &str, pointer: &str) -> Value {
    let there = |answer: &Answer| answer.json().pointer(pointer).is_some_and(|value| !value.is_null());
    soon(client, target, there).await.json()
}
