//! Groups of the community: what is in them needs an approval.

use api_machinery::{ErrorList, Value, object};

use crate::at::At;

/// Where it was approved, or why it was not.
const APPROVAL: &str = "api-approved.kubernetes.io";

/// What an annotation says of a type in a group of the community.
#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    /// A link to where it was approved.
    Given,
    /// Not given, for a reason.
    Waived,
    Unreadable,
}

impl Approval {
    fn of(text: &str) -> Self {
        match text {
            "" => Approval::Missing,
            _ if text.starts_with("unapproved") => Approval::Waived,
            _ if is_link(text) => Approval::Given,
            _ => Approval::Unreadable,
        }
    }
}

fn is_link(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let host = rest.split(['/', '?']).next().unwrap_or("");
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(inner)
        && !host.is_empty()
        && !host.contains(' ')
        && !text.contains(|c: char| c.is_ascii_control())
}

/// The groups of the community, unless what is in them was approved; the annotation says where, or that it was not.
/// What it says may stay wrong.
pub(crate) fn validate(root: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let group = object::str_at(root.value, "spec.group");
    let is_under = |domain: &str| group == domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if !is_under("k8s.io") && !is_under("kubernetes.io") {
        return;
    }
    let notes = root.field("metadata.annotations");
    let approval = notes.key(APPROVAL);
    let said = Approval::of(approval.str());
    if old.is_object() && said == Approval::of(object::annotation(old, APPROVAL).unwrap_or("")) {
        return;
    }
    match said {
        Approval::Given | Approval::Waived => {}
        Approval::Missing => {
            let detail = format!(
                "protected groups must have approval annotation {APPROVAL:?}, see https://github.com/kubernetes/enhancements/pull/1111"
            );
            approval.required(errors, &detail);
        }
        Approval::Unreadable => {
            let detail = format!(
                "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting \
                 with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
            );
            approval.invalid(errors, &detail);
        }
    }
}
