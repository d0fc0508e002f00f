//! Which part of an object an update may change, by the subresource it comes through. Pure.

use api_kinds::{Kind, keep_field};
use api_machinery::{ErrorList, Value, object};
use jiff::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    Status,
    /// `namespaces/finalize`
    Finalize,
    /// `certificatesigningrequests/approval`
    Approval,
    /// `pods/ephemeralcontainers`
    EphemeralContainers,
    /// `pods/resize`
    Resize,
}

impl Part {
    pub(crate) fn of(subresource: &str) -> Option<Self> {
        Some(match subresource {
            "" => Part::Whole,
            "status" => Part::Status,
            "finalize" => Part::Finalize,
            "approval" => Part::Approval,
            "ephemeralcontainers" => Part::EphemeralContainers,
            "resize" => Part::Resize,
            _ => return None,
        })
    }

    /// Puts back everything that may not change through this part.
    pub(crate) fn restrict(self, kind: &dyn Kind, value: &mut Value, old: &Value, has_status: bool, now: Timestamp) {
        match self {
            Part::Whole => {
                kind.prepare_update(value, old, has_status);
                kind.stamp(value, old, now);
            }
            Part::Status => {
                kind.prepare_status_update(value, old);
                kind.stamp(value, old, now);
            }
            Part::Finalize => keep_field(value, old, "status"),
            Part::Approval => {
                kind.prepare_approval(value, old);
                kind.stamp(value, old, now);
            }
            Part::EphemeralContainers => only_spec(value, old, |spec, wanted| {
                copy(spec, wanted, "ephemeralContainers");
            }),
            Part::Resize => kind.prepare_resize(value, old),
        }
    }

    pub(crate) fn validate(self, kind: &dyn Kind, value: &Value, old: &Value, errors: &mut ErrorList) {
        match self {
            Part::Whole => {
                kind.validate(value, errors);
                kind.validate_update(value, old, errors);
            }
            Part::Status => kind.validate_status_update(value, old, errors),
            Part::Finalize => kind.validate(value, errors),
            Part::Resize => kind.validate_resize(value, old, errors),
            Part::Approval => kind.validate_approval(value, old, errors),
            Part::EphemeralContainers => kind.validate_ephemeral(value, old, errors),
        }
    }
}

fn copy(spec: &mut Value, wanted: &Value, field: &str) {
    keep_field(spec, wanted, field);
}

/// The stored object, with the client's resourceVersion and what `take` takes from the client's spec.
fn only_spec(value: &mut Value, old: &Value, take: impl Fn(&mut Value, &Value)) {
    let mut kept = old.clone();
    let version = object::resource_version(value).to_owned();
    let wanted = value.get("spec").cloned().unwrap_or_default();
    take(&mut kept["spec"], &wanted);
    object::meta_mut(&mut kept).insert("resourceVersion".to_owned(), version.into());
    *value = kept;
}
