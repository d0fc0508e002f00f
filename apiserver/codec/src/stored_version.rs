//! Kinds that upstream stores in an early version though they are stable: they are kept the same here, and worked with
//! in the stable version, as which they are read again. What was stored as the stable version is read as it is.

use std::borrow::Cow;

use api_machinery::{Value, object};

use crate::definitions;

/// Kind, and the version it is worked with and stored in.
pub const EARLY: [(&str, &str, &str); 3] = [
    ("MutatingAdmissionPolicy", "admissionregistration.k8s.io/v1", "admissionregistration.k8s.io/v1beta1"),
    ("MutatingAdmissionPolicyBinding", "admissionregistration.k8s.io/v1", "admissionregistration.k8s.io/v1beta1"),
    (definitions::KIND, "apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1"),
];

/// An object as it is to be stored.
pub fn to_stored(worked: &Value) -> Cow<'_, Value> {
    let (version, kind) = names(worked);
    let Some((kind, _, early)) = EARLY.iter().find(|(own, stable, _)| (*own, *stable) == (kind, version)) else {
        return Cow::Borrowed(worked);
    };
    let mut stored = worked.clone();
    stored["apiVersion"] = (*early).into();
    if *kind == definitions::KIND {
        definitions::to_v1beta1(&mut stored);
    }
    Cow::Owned(stored)
}

/// A stored object as it is worked with. Answers whether it would be stored otherwise today.
pub fn from_stored(value: &mut Value) -> bool {
    let (version, kind) = names(value);
    let Some((kind, stable, early)) = EARLY.iter().find(|(own, _, _)| *own == kind) else { return false };
    let (is_stable, is_early) = (version == *stable, version == *early);
    if is_early {
        value["apiVersion"] = (*stable).into();
        if *kind == definitions::KIND {
            definitions::from_v1beta1(value);
        }
    }
    is_stable
}

fn names(value: &Value) -> (&str, &str) {
    (object::str_at(value, "apiVersion"), object::str_at(value, "kind"))
}

/// Whether stored bytes are of such a version: told by how they begin, for every object is asked.
pub fn is_early(stored: &[u8]) -> bool {
    let begins = |(kind, _, early): &(&str, &str, &str)| {
        let rest = stored.strip_prefix(b"{\"apiVersion\":\"")?.strip_prefix(early.as_bytes())?;
        rest.strip_prefix(b"\",\"kind\":\"")?.strip_prefix(kind.as_bytes())?.strip_prefix(b"\"")
    };
    EARLY.iter().any(|one| begins(one).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stored;

    /// (as worked with, as stored)
    fn both_ways(worked: &Value, wanted: &Value) {
        let kept = to_stored(worked);
        assert_eq!(*kept, *wanted);
        assert!(is_early(&stored::encode(&kept)) && !is_early(&stored::encode(worked)));
        let mut read = kept.into_owned();
        assert!(!from_stored(&mut read), "it is kept as it is to be");
        assert_eq!(read, *worked);
        let mut old = worked.clone();
        assert!(from_stored(&mut old), "it was kept in another version");
        assert_eq!(old, *worked);
    }

    #[test]
    fn policies_only_change_their_version() {
        for (kind, stable, early) in &EARLY[..2] {
            let of = |version: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": {"a": 1}});
            both_ways(&of(stable), &of(early));
        }
        let other = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy"});
        assert_eq!(*to_stored(&other), other);
        assert!(matches!(to_stored(&other), Cow::Borrowed(_)) && !from_stored(&mut other.clone()));
    }

    #[test]
    fn definitions_share_what_is_the_same_in_all_versions() {
        let (schema, other) = (json!({"openAPIV3Schema": {"type": "object"}}), json!({"openAPIV3Schema": {}}));
        let columns = |path: &str| json!([{"name": "n", "type": "string", path: ".spec.a"}]);
        let of = |version: &str, spec: Value| json!({"apiVersion": version, "kind": "CustomResourceDefinition", "metadata": {"name": "x"}, "spec": spec});
        let version = |name: &str, schema: &Value| {
            json!({"name": name, "served": true, "storage": name == "v1", "schema": schema,
                   "subresources": {"status": {}}, "selectableFields": [{"jsonPath": ".spec.a"}]})
        };
        let mut with_columns = version("v2", &other);
        with_columns["additionalPrinterColumns"] = columns("jsonPath");
        let webhook = json!({"clientConfig": {"url": "https://x.example"}, "conversionReviewVersions": ["v1"]});
        let worked = of(
            "apiextensions.k8s.io/v1",
            json!({"group": "g", "versions": [version("v1", &schema), with_columns],
            "conversion": {"strategy": "Webhook", "webhook": webhook}}),
        );
        let stored = of(
            "apiextensions.k8s.io/v1beta1",
            json!({"group": "g", "version": "v1", "preserveUnknownFields": false,
            "subresources": {"status": {}}, "selectableFields": [{"jsonPath": ".spec.a"}],
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema},
                {"name": "v2", "served": true, "storage": false, "schema": other, "additionalPrinterColumns": columns("JSONPath")}],
            "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "https://x.example"},
                           "conversionReviewVersions": ["v1"]}}),
        );
        both_ways(&worked, &stored);
        let mut one = version("v1", &schema);
        one["additionalPrinterColumns"] = columns("jsonPath");
        let worked = of(
            "apiextensions.k8s.io/v1",
            json!({"group": "g", "versions": [one], "preserveUnknownFields": true,
            "conversion": {"strategy": "None"}}),
        );
        let stored = of(
            "apiextensions.k8s.io/v1beta1",
            json!({"group": "g", "version": "v1", "preserveUnknownFields": true,
            "validation": schema, "subresources": {"status": {}}, "selectableFields": [{"jsonPath": ".spec.a"}],
            "additionalPrinterColumns": columns("JSONPath"), "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true}]}),
        );
        both_ways(&worked, &stored);
    }
}
