//! Which Secrets a pod names, and which of them its account lets it name.

use api_machinery::{Value, object};

use crate::lookup::items;

/// An account with this annotation lets its pods name only the Secrets that it lists itself.
const LIMITED: &str = "kubernetes.io/enforce-mountable-secrets";
/// Volumes that may need a Secret.
const WITH_SECRET: [&str; 7] = ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];

/// A Secret's name, which may be empty, and what names it, in upstream's words.
pub(crate) struct Named<'a> {
    by: String,
    secret: &'a str,
}

/// The name in a part of an object, when the part is there.
fn named<'v>(value: &'v Value, part: &str, field: &str) -> Option<&'v str> {
    object::at(value, part).filter(|part| part.is_object()).map(|part| object::str_at(part, field))
}

/// By its volumes and containers; images are pulled with others.
pub(crate) fn of_pod(pod: &Value) -> Vec<Named<'_>> {
    let volumes = items(pod, "spec.volumes").iter().flat_map(of_volume);
    let mut all: Vec<Named<'_>> = volumes.map(|secret| Named { by: "volume with".to_owned(), secret }).collect();
    all.extend(of_containers(pod, "initContainers", "init container"));
    all.extend(of_containers(pod, "containers", "container"));
    all.extend(of_ephemeral(pod));
    all
}

/// By its ephemeral containers.
pub(crate) fn of_ephemeral(pod: &Value) -> Vec<Named<'_>> {
    of_containers(pod, "ephemeralContainers", "ephemeral container")
}

fn of_volume(volume: &Value) -> Vec<&str> {
    let parts = [("secret", "secretName"), ("azureFile", "secretName"), ("csi.nodePublishSecretRef", "name")];
    let own = parts.into_iter().filter_map(|(part, field)| named(volume, part, field));
    let drivers = WITH_SECRET.into_iter().filter_map(|kind| named(volume, &format!("{kind}.secretRef"), "name"));
    let sources = items(volume, "projected.sources").iter().filter_map(|source| named(source, "secret", "name"));
    own.chain(drivers).chain(sources).collect()
}

fn of_containers<'a>(pod: &'a Value, list: &str, what: &str) -> Vec<Named<'a>> {
    let mut all = Vec::new();
    for container in items(pod, &format!("spec.{list}")) {
        let by = format!("{what} {} with", object::str_at(container, "name"));
        for variable in items(container, "env") {
            if let Some(secret) = named(variable, "valueFrom.secretKeyRef", "name") {
                all.push(Named { by: format!("{by} envVar {} referencing", object::str_at(variable, "name")), secret });
            }
        }
        let whole = items(container, "envFrom").iter().filter_map(|source| named(source, "secretRef", "name"));
        all.extend(whole.map(|secret| Named { by: format!("{by} envFrom referencing"), secret }));
    }
    all
}

/// Whether the account limits its pods, as Go reads a boolean.
pub(crate) fn are_limited(account: &Value) -> bool {
    let said = object::annotation(account, LIMITED).unwrap_or("");
    matches!(said, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn lists(account: &Value, list: &str, secret: &str) -> bool {
    items(account, list).iter().any(|one| object::str_at(one, "name") == secret)
}

/// Why one of these may not be named.
pub(crate) fn refused(all: &[Named<'_>], account: &Value) -> Option<String> {
    let refused = all.iter().find(|one| !lists(account, "secrets", one.secret))?;
    let (Named { by, secret }, account) = (refused, object::name(account));
    Some(format!(
        "{by} secret.secretName={secret:?} is not allowed because service account {account} does not reference that secret"
    ))
}

/// The same, of those that its images are pulled with.
pub(crate) fn refused_for_images(pod: &Value, account: &Value) -> Option<String> {
    let mut all = items(pod, "spec.imagePullSecrets").iter().map(|one| object::str_at(one, "name")).enumerate();
    let (index, secret) = all.find(|(_, secret)| !lists(account, "imagePullSecrets", secret))?;
    let account = object::name(account);
    Some(format!(
        "imagePullSecrets[{index}].name={secret:?} is not allowed because service account {account} does not reference \
         that imagePullSecret"
    ))
}
