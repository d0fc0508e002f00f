//! The cells admission policies and their bindings share.

use api_machinery::{Value, object};
use jiff::Timestamp;

use crate::at::child;
use crate::cells;

/// Name, number of rules, kind of the parameters, age.
pub(crate) fn of_policy(object: &Value, rules: &str, now: Timestamp) -> Vec<Value> {
    let kind = child(object, "spec.paramKind");
    let kind = match kind.is_object() {
        true => format!("{}/{}", object::str_at(kind, "apiVersion"), object::str_at(kind, "kind")),
        false => "<unset>".to_owned(),
    };
    vec![cells::name(object), cells::len(child(object, "spec"), rules).into(), kind.into(), cells::age(object, now)]
}

/// Name, policy, parameters, age.
pub(crate) fn of_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let reference = child(object, "spec.paramRef");
    let (name, namespace) = (object::str_at(reference, "name"), object::str_at(reference, "namespace"));
    let shown = match (reference.is_object(), name.is_empty()) {
        (false, _) => "<unset>".to_owned(),
        (true, true) => {
            let selector = cells::selector(child(reference, "selector"));
            if namespace.is_empty() { format!("*/{selector}") } else { format!("{namespace}/{selector}") }
        }
        (true, false) if namespace.is_empty() => name.to_owned(),
        (true, false) => format!("{namespace}/{name}"),
    };
    let policy = cells::text(object, "spec.policyName");
    vec![cells::name(object), policy, shown.into(), cells::age(object, now)]
}
