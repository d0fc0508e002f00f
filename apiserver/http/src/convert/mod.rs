//! Versions of one stored object that differ from the stored one: events.k8s.io/v1 over core/v1 events,
//! autoscaling/v1 over autoscaling/v2. Everything else is served as it is stored.

mod autoscaling;
mod events;

use api_machinery::Value;
use api_schema::Resource;

/// Between the form a resource is served in and the one it is stored in. Both directions keep `metadata`.
pub(crate) trait Conversion: Send + Sync {
    fn to_served(&self, stored: &Value) -> Value;
    fn to_stored(&self, served: &Value) -> Value;
    /// The stored form's name of a selectable field.
    fn field<'a>(&self, served: &'a str) -> &'a str {
        served
    }
}

/// The conversion of a served resource; `None` when it is stored in the same form.
pub(crate) fn of(resource: &Resource) -> Option<&'static dyn Conversion> {
    match (&*resource.gv.group, &*resource.gv.version, resource.plural.as_str()) {
        ("events.k8s.io", "v1", "events") => Some(&events::Events),
        ("autoscaling", "v1", "horizontalpodautoscalers") => Some(&autoscaling::Autoscalers),
        _ => None,
    }
}

/// Moves a field under another name where it is present.
fn rename(from: &serde_json::Map<String, Value>, to: &mut serde_json::Map<String, Value>, old: &str, new: &str) {
    if let Some(value) = from.get(old) {
        to.insert(new.to_owned(), value.clone());
    }
}
