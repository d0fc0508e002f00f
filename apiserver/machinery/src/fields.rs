//! Field selectors: `metadata.name=a,spec.nodeName!=b`.

/// A parsed selector; all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

impl FieldSelector {
    /// Parses the `fieldSelector` query parameter (with `\` escapes); the error is upstream's text.
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
    /// The value demanded of `field` by an equality term: `metadata.name=x` makes a list a get.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
    /// `value_of` answers the value of a selectable field, the empty string when unset.
    pub fn matches(&self, value_of: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|term| (value_of(&term.field) == term.value) == term.equal)
    }
}
