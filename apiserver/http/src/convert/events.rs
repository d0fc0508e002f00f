//! events.k8s.io/v1 Event, stored as core/v1 Event: the same fields under other names.

use api_machinery::Value;
use serde_json::Map;

use super::{Conversion, rename};

pub(super) struct Events;

/// (stored, served)
const NAMES: [(&str, &str); 16] = [
    ("metadata", "metadata"),
    ("eventTime", "eventTime"),
    ("series", "series"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
    ("action", "action"),
    ("reason", "reason"),
    ("involvedObject", "regarding"),
    ("related", "related"),
    ("message", "note"),
    ("type", "type"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("kind", "kind"),
];

impl Conversion for Events {
    fn to_served(&self, stored: &Value) -> Value {
        let Some(from) = stored.as_object() else { return stored.clone() };
        let mut to = Map::new();
        for (old, new) in NAMES {
            rename(from, &mut to, old, new);
        }
        to.insert("apiVersion".to_owned(), "events.k8s.io/v1".into());
        Value::Object(to)
    }

    fn to_stored(&self, served: &Value) -> Value {
        let Some(from) = served.as_object() else { return served.clone() };
        let mut to = Map::new();
        for (new, old) in NAMES {
            rename(from, &mut to, old, new);
        }
        to.insert("apiVersion".to_owned(), "v1".into());
        Value::Object(to)
    }

    fn field<'a>(&self, served: &'a str) -> &'a str {
        match served {
            "reportingController" => "reportingComponent",
            "regarding.kind" => "involvedObject.kind",
            "regarding.namespace" => "involvedObject.namespace",
            "regarding.name" => "involvedObject.name",
            "regarding.uid" => "involvedObject.uid",
            "regarding.apiVersion" => "involvedObject.apiVersion",
            "regarding.resourceVersion" => "involvedObject.resourceVersion",
            "regarding.fieldPath" => "involvedObject.fieldPath",
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_and_back() {
        let served = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i",
            "action": "a", "reason": "r", "regarding": {"kind": "Pod"}, "note": "n", "type": "Normal",
            "deprecatedCount": 2, "deprecatedSource": {"component": "x"}, "series": {"count": 2}});
        let stored = Events.to_stored(&served);
        assert_eq!(
            stored,
            json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "c", "reportingInstance": "i",
            "action": "a", "reason": "r", "involvedObject": {"kind": "Pod"}, "message": "n", "type": "Normal",
            "count": 2, "source": {"component": "x"}, "series": {"count": 2}})
        );
        assert_eq!(Events.to_served(&stored), served);
    }
}
