//! The annotation in which `kubectl apply` keeps, at the client's side, what it last applied.

use api_machinery::{Value, meta, object};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What was last applied, as far as it can be read.
pub(crate) fn read(object: &Value) -> Option<Value> {
    serde_json::from_str(object::annotation(object, ANNOTATION)?).ok()
}

/// Keeps the annotation of an object that has one up to date, so that a later client-side apply starts from
/// what is. Where it became too long for annotations it goes, as upstream.
pub(crate) fn renew(object: &mut Value, config: &Value) {
    if object::annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = annotations(&mut config) {
        annotations.remove(ANNOTATION);
    }
    let Some(annotations) = annotations(object) else { return };
    // Go's encoder ends a document with a new line.
    annotations.insert(ANNOTATION.to_owned(), format!("{config}\n").into());
    let bytes = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if annotations.iter().map(bytes).sum::<usize>() > meta::ANNOTATIONS_MAX_BYTES {
        annotations.remove(ANNOTATION);
    }
}

fn annotations(object: &mut Value) -> Option<&mut serde_json::Map<String, Value>> {
    object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()
}
