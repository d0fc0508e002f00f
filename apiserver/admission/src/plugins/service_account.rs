//! ServiceAccount: every pod runs as an account that exists, gets a token of it, and names no Secrets that the account
//! keeps it from.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;
use serde_json::json;

use crate::{Attributes, Operation, Plugin, View, lookup, secrets};

pub(crate) struct ServiceAccount;

/// Where every container finds token, CA and namespace.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Seconds a token lives; the odd number tells it from tokens a user asked for.
const TOKEN_SECONDS: i64 = 3607;
const ROOT_CA: &str = "kube-root-ca.crt";
/// A pod of a node's own files, shown through the API.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.creates("", "pods")) else { return Ok(()) };
        if object::annotation(pod, MIRROR).is_some() {
            return check_mirror(attributes, pod);
        }
        if object::str_at(pod, "spec.serviceAccountName").is_empty() {
            pod["spec"]["serviceAccountName"] = "default".into();
            pod["spec"]["serviceAccount"] = "default".into();
        }
        let account = account_of(attributes, pod, view).await?;
        if wants_token(pod, &account) {
            mount_token(pod, attributes.namespace);
        }
        let secrets = object::at(&account, "imagePullSecrets").and_then(Value::as_array);
        let own = object::at(pod, "spec.imagePullSecrets").and_then(Value::as_array);
        if let Some(secrets) = secrets.filter(|list| !list.is_empty() && own.is_none_or(Vec::is_empty)) {
            pod["spec"]["imagePullSecrets"] = Value::Array(secrets.clone());
        }
        Ok(())
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.is_any_of("", "pods")) else { return Ok(()) };
        match (attributes.operation, attributes.subresource) {
            (Operation::Create, "") if object::annotation(pod, MIRROR).is_some() => check_mirror(attributes, pod),
            (Operation::Create, "") | (Operation::Update, "ephemeralcontainers") => {
                let account = account_of(attributes, pod, view).await?;
                check_secrets(attributes, pod, &account)
            }
            _ => Ok(()),
        }
    }
}

/// Of an account that limits its pods. Those of a pod that is there already were looked at when it was made.
fn check_secrets(attributes: &Attributes<'_>, pod: &Value, account: &Value) -> Result<(), ApiError> {
    if !secrets::are_limited(account) {
        return Ok(());
    }
    let refused = match attributes.operation {
        Operation::Create => {
            secrets::refused(&secrets::of_pod(pod), account).or_else(|| secrets::refused_for_images(pod, account))
        }
        _ => secrets::refused(&secrets::of_ephemeral(pod), account),
    };
    refused.map_or(Ok(()), |why| Err(attributes.forbidden(Some(pod), &why)))
}

async fn account_of(
    attributes: &Attributes<'_>,
    pod: &Value,
    view: &dyn View,
) -> Result<std::sync::Arc<Value>, ApiError> {
    let name = object::str_at(pod, "spec.serviceAccountName");
    if name.is_empty() {
        let why = format!("no service account specified for pod {}/{}", attributes.namespace, object::name(pod));
        return Err(attributes.forbidden(Some(pod), &why));
    }
    let found = lookup::get(view, "", "serviceaccounts", attributes.namespace, name).await?;
    found.ok_or_else(|| {
        let namespace = attributes.namespace;
        let why = lookup::unaskable(name).unwrap_or_else(|| format!("serviceaccount {name:?} not found"));
        let why = format!("error looking up service account {namespace}/{name}: {why}");
        attributes.forbidden(Some(pod), &why)
    })
}

/// A mirror pod is not run by the control plane: it must not reach for anything in it.
fn check_mirror(attributes: &Attributes<'_>, pod: &Value) -> Result<(), ApiError> {
    let refuse = |why: &str| Err(attributes.forbidden(Some(pod), why));
    if !object::str_at(pod, "spec.serviceAccountName").is_empty() {
        return refuse("a mirror pod may not reference service accounts");
    }
    if !secrets::of_pod(pod).is_empty() || !lookup::items(pod, "spec.imagePullSecrets").is_empty() {
        return refuse("a mirror pod may not reference secrets");
    }
    if names_config_maps(pod) {
        return refuse("a mirror pod may not reference configmaps");
    }
    let token = |source: &Value| source.get("serviceAccountToken").is_some_and(Value::is_object);
    if lookup::items(pod, "spec.volumes").iter().flat_map(projected_sources).any(token) {
        return refuse("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

fn projected_sources(volume: &Value) -> &[Value] {
    lookup::items(volume, "projected.sources")
}

/// Whether environment or volumes name one.
fn names_config_maps(pod: &Value) -> bool {
    let set = |value: &Value, path: &str| object::at(value, path).is_some_and(Value::is_object);
    let by_volume = lookup::items(pod, "spec.volumes").iter().any(|volume| {
        set(volume, "configMap") || projected_sources(volume).iter().any(|source| set(source, "configMap"))
    });
    let lists = ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"];
    by_volume
        || lists.into_iter().flat_map(|list| lookup::items(pod, list)).any(|container| {
            lookup::items(container, "envFrom").iter().any(|one| set(one, "configMapRef"))
                || lookup::items(container, "env").iter().any(|one| set(one, "valueFrom.configMapKeyRef"))
        })
}

/// The pod decides, then its account, then yes.
fn wants_token(pod: &Value, account: &Value) -> bool {
    let of_pod = object::at(pod, "spec.automountServiceAccountToken").and_then(Value::as_bool);
    let of_account = account.get("automountServiceAccountToken").and_then(Value::as_bool);
    of_pod.or(of_account).unwrap_or(true)
}

fn mount_token(pod: &mut Value, namespace: &str) {
    let volumes = object::at(pod, "spec.volumes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let existing =
        volumes.iter().map(|volume| object::str_at(volume, "name")).find(|name| name.starts_with(VOLUME_PREFIX));
    let (name, is_new) = match existing {
        Some(name) => (name.to_owned(), false),
        None => (format!("{VOLUME_PREFIX}{}", suffix(pod, namespace)), true),
    };
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            used |= mount_into(container, &name);
        }
    }
    if used && is_new {
        push(&mut pod["spec"], "volumes", token_volume(&name));
    }
}

/// Five characters that differ between pods and are the same when the same pod is admitted again.
fn suffix(pod: &Value, namespace: &str) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    // FNV-1a: spreads well over short texts and is stable across versions and processes.
    let parts = [namespace, "/", object::name(pod), "/", object::generate_name(pod), "/", object::uid(pod)];
    let mut hash = parts
        .iter()
        .flat_map(|part| part.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut text = String::with_capacity(5);
    for _ in 0..5 {
        text.push(char::from(LETTERS[(hash % LETTERS.len() as u64) as usize]));
        hash /= LETTERS.len() as u64;
    }
    text
}

/// Answers whether the mount was added: not where something is mounted already.
fn mount_into(container: &mut Value, volume: &str) -> bool {
    let mounts = container.get("volumeMounts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !container.is_object() || mounts.iter().any(|mount| object::str_at(mount, "mountPath") == TOKEN_PATH) {
        return false;
    }
    push(container, "volumeMounts", json!({"name": volume, "mountPath": TOKEN_PATH, "readOnly": true}));
    true
}

fn push(holder: &mut Value, list: &str, item: Value) {
    match holder.get_mut(list).and_then(Value::as_array_mut) {
        Some(list) => list.push(item),
        None => holder[list] = json!([item]),
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}
