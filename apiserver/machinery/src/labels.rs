//! Label selectors: the query form (`a=b,c in (d,e),!f`) and LabelSelector objects.

use std::collections::BTreeMap;

use serde_json::Value;

/// A parsed selector; all requirements must hold. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
    /// Matches nothing at all (a `LabelSelector` that is absent).
    pub nothing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl Selector {
    /// Parses the `labelSelector` query parameter; the error is upstream's text, without prefix.
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    /// Reads a `LabelSelector` object (`matchLabels`, `matchExpressions`). `null`/absent matches nothing, `{}` everything.
    pub fn from_object(_selector: Option<&Value>) -> Result<Self, String> {
        todo!()
    }
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }
    /// `labels` answers the value of a label.
    pub fn matches<'a>(&self, _labels: impl Fn(&str) -> Option<&'a str>) -> bool {
        todo!()
    }
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches(|key| crate::object::label(object, key))
    }
    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches(|key| labels.get(key).map(String::as_str))
    }
}
