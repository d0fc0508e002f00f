//! Metadata of typed objects: owners, ages, selectors.

use std::collections::BTreeMap;

use api_machinery::labels::Selector;
use jiff::Timestamp;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::plan::to_value;

pub type Labels = BTreeMap<String, String>;

/// Short forms for what every controller asks of every object.
pub trait Meta: Metadata<Ty = ObjectMeta> {
    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }
    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }
    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }
    fn labels(&self) -> &Labels {
        static NONE: Labels = Labels::new();
        self.metadata().labels.as_ref().unwrap_or(&NONE)
    }
    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata().annotations.as_ref()?.get(key).map(String::as_str)
    }
    fn annotate(&mut self, key: &str, value: String) {
        self.metadata_mut().annotations.get_or_insert_default().insert(key.to_owned(), value);
    }
    fn is_deleting(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }
    /// When it was made; the epoch for an object that never was stored.
    fn created(&self) -> Timestamp {
        self.metadata().creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }
    fn controller(&self) -> Option<&OwnerReference> {
        self.metadata().owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
    }
    fn is_controlled_by(&self, owner: &impl Metadata<Ty = ObjectMeta>) -> bool {
        let uid = owner.metadata().uid.as_deref();
        self.controller().is_some_and(|reference| Some(reference.uid.as_str()) == uid)
    }
    /// A reference that makes this object the controller of another, blocking its own foreground deletion.
    fn controller_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: Self::API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

impl<T: Metadata<Ty = ObjectMeta>> Meta for T {}

/// As the API keeps times: whole seconds.
pub fn time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).expect("whole seconds of a time are in range"))
}

/// A checked selector. One that cannot be read matches nothing, as upstream's controllers do with it.
pub fn selector(selector: Option<&LabelSelector>) -> Selector {
    let nothing = Selector { nothing: true, ..Selector::default() };
    selector
        .map_or_else(|| nothing.clone(), |own| Selector::from_object(Some(&to_value(own))).unwrap_or(nothing.clone()))
}

/// An absolute number, or a percentage of `total` (rounded up or down). What is malformed counts as 0.
pub fn scaled(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
            let product = percent * i64::from(total);
            let number = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(number).unwrap_or(i32::MAX)
        }
    }
}
