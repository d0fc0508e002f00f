//! Objects by number.

use crate::GroupResource;

const ALIASES: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// `count/deployments.apps`
pub(super) fn name(resource: &GroupResource) -> String {
    match resource.group.is_empty() {
        true => format!("count/{}", resource.resource),
        false => format!("count/{}.{}", resource.resource, resource.group),
    }
}

/// The resource whose objects a name counts, where it only counts them.
pub fn counted(name: &str) -> Option<GroupResource> {
    if ALIASES.contains(&name) {
        return Some(GroupResource::new("", name));
    }
    let counted = name.strip_prefix("count/")?;
    let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
    Some(GroupResource::new(group, resource))
}

/// The older name of the same.
pub(super) fn alias(resource: &GroupResource) -> Option<&'static str> {
    ALIASES.into_iter().find(|name| resource.group.is_empty() && &*resource.resource == *name)
}
