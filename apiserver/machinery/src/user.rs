//! Who a request is from.

use std::collections::BTreeMap;

/// What authentication found out, as `UserInfo` of `authentication.k8s.io`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    pub const MASTERS: &'static str = "system:masters";

    /// A component of this process, for instance a controller.
    pub fn internal(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            groups: vec![Self::MASTERS.to_owned(), "system:authenticated".to_owned()],
            ..Self::default()
        }
    }
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}
