//! PersistentVolumeClaims: their number and storage, of all and of each storage class.

use serde_json::Value;

use super::amounts::{Amounts, ONE, parse};
use super::scopes::Scope;
use crate::object;
use crate::quantity::Quantity;

const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
const OLDER_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn counts(name: &str) -> bool {
    let of_class = |what| name.strip_suffix(what).is_some_and(|rest| rest.ends_with(OF_CLASS));
    [CLAIMS, STORAGE].into_iter().any(|what| name == what || of_class(what))
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let mut used = Amounts::from([(CLAIMS.to_owned(), ONE)]);
    used.extend(storage(claim).map(|storage| (STORAGE.to_owned(), storage)));
    let class =
        object::annotation(claim, OLDER_CLASS).unwrap_or_else(|| object::str_at(claim, "spec.storageClassName"));
    if !class.is_empty() {
        let of_class: Vec<_> =
            used.iter().map(|(name, amount)| (format!("{class}{OF_CLASS}{name}"), *amount)).collect();
        used.extend(of_class);
    }
    used
}

/// In whole bytes; while an expansion is taken back, what is still allocated.
fn storage(claim: &Value) -> Option<Quantity> {
    let whole = |amount: Quantity| Quantity::from_units(amount.value(), amount.format);
    let asked = whole(*parse(claim, "spec.resources.requests").get("storage")?);
    let allocated = parse(claim, "status.allocatedResources").get("storage").copied().map(whole);
    Some(allocated.filter(|allocated| *allocated > asked).unwrap_or(asked))
}

pub(super) fn in_scope(claim: &Value, scope: &Scope<'_>) -> bool {
    if scope.name != "VolumeAttributesClass" {
        return false;
    }
    let classes = attribute_classes(claim);
    if classes.is_empty() { scope.selects(None) } else { classes.into_iter().any(|class| scope.selects(Some(class))) }
}

/// The classes it has, had and is to have.
pub(super) fn attribute_classes(claim: &Value) -> Vec<&str> {
    let mut classes: Vec<&str> = [
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    ]
    .into_iter()
    .map(|path| object::str_at(claim, path))
    .filter(|class| !class.is_empty())
    .collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// Whether a change of status changes what counts.
pub(super) fn status_matters(new: &Value, old: &Value) -> bool {
    storage(new).map(|one| one.nano) != storage(old).map(|one| one.nano)
        || attribute_classes(new) != attribute_classes(old)
}
