//! What an apply that was not forced is refused with.

use std::collections::BTreeMap;

use api_machinery::invalid::CauseType;
use api_machinery::{ApiError, Cause, Reason};

use super::managers::{Key, Operation};
use super::set::FieldSet;

/// Fields with the managers that own them with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub(crate) owners: BTreeMap<Key, FieldSet>,
}

/// As upstream's messages name a manager.
fn shown(key: &Key) -> String {
    let mut text = format!("{:?}", key.name);
    if !key.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", key.subresource));
    }
    if key.operation == Operation::Update {
        text.push_str(&format!(" using {}", key.api_version));
    }
    text
}

impl Conflict {
    fn each(&self) -> Vec<(String, String)> {
        let of_owner = |(key, fields): (&Key, &FieldSet)| {
            let owner = shown(key);
            fields.paths().into_iter().map(move |path| (owner.clone(), path)).collect::<Vec<_>>()
        };
        self.owners.iter().flat_map(of_owner).collect()
    }

    fn message(&self, each: &[(String, String)]) -> String {
        if let [(owner, path)] = each {
            return format!("Apply failed with 1 conflict: conflict with {owner}: {path}");
        }
        let mut lines = Vec::new();
        let mut last = None;
        for (owner, path) in each {
            if last != Some(owner) {
                lines.push(format!("conflicts with {owner}:"));
                last = Some(owner);
            }
            lines.push(format!("- {path}"));
        }
        format!("Apply failed with {} conflicts: {}", each.len(), lines.join("\n"))
    }

    /// 409 with a cause for every field.
    pub fn to_error(&self) -> ApiError {
        let mut each = self.each();
        each.sort_by(|a, b| a.0.cmp(&b.0));
        let cause = |(owner, path): &(String, String)| Cause {
            reason: CauseType::FieldManagerConflict,
            message: format!("conflict with {owner}"),
            field: path.clone(),
        };
        let mut error = ApiError::new(409, Reason::Conflict, self.message(&each));
        error.details.get_or_insert_default().causes = each.iter().map(cause).collect();
        error
    }
}
