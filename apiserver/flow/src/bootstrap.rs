//! The two levels and schemas that are always there, and how the objects every cluster has are kept.

use api_machinery::{Value, object};
use serde_json::json;

use crate::config::{Distinguisher, FlowSchema, PriorityLevel, ResourceRule, Rule, Subject, UrlRule};
use crate::queue_set::Queuing;

pub const EXEMPT: &str = "exempt";
pub const CATCH_ALL: &str = "catch-all";
/// Says whether a server keeps the spec of an object as it knows it.
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const MASTERS: &str = "system:masters";

/// Used while there is no such object.
pub(crate) fn level(name: &str) -> PriorityLevel {
    let exempt = name == EXEMPT;
    PriorityLevel {
        name: name.to_owned(),
        uid: String::new(),
        shares: if exempt { 0 } else { 5 },
        lendable_percent: 0,
        borrowing_percent: None,
        queuing: if exempt { Queuing::Exempt } else { Queuing::Reject },
    }
}

/// The same of schemas.
pub(crate) fn schema(name: &str) -> FlowSchema {
    let exempt = name == EXEMPT;
    let all = || vec!["*".to_owned()];
    let groups: &[&str] = if exempt { &[MASTERS] } else { &["system:unauthenticated", "system:authenticated"] };
    let resources =
        ResourceRule { verbs: all(), groups: all(), resources: all(), cluster_scope: true, namespaces: all() };
    FlowSchema {
        name: name.to_owned(),
        uid: String::new(),
        level: name.to_owned(),
        precedence: if exempt { 1 } else { 10_000 },
        distinguisher: if exempt { Distinguisher::None } else { Distinguisher::ByUser },
        rules: vec![Rule {
            subjects: groups.iter().map(|group| Subject::Group((*group).to_owned())).collect(),
            resources: vec![resources],
            urls: vec![UrlRule { verbs: all(), urls: all() }],
        }],
    }
}

/// As Go reads a boolean.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What becomes of a bootstrap object that is there already. The two mandatory ones always get the spec this server
/// knows; a suggested one only while its annotation says so, or nobody has changed it yet. The annotation says which.
pub fn revise(stored: &Value, wanted: &Value) -> Value {
    let mandatory = matches!(object::name(wanted), EXEMPT | CATCH_ALL);
    let said = object::annotation(stored, AUTOUPDATE).and_then(boolean);
    let update = mandatory || said.unwrap_or(object::generation(stored) == 1);
    let mut revised = stored.clone();
    if update {
        revised["spec"] = wanted["spec"].clone();
    }
    if said != Some(update) {
        let annotations = object::meta_mut(&mut revised).entry("annotations").or_insert_with(|| json!({}));
        annotations[AUTOUPDATE] = update.to_string().into();
    }
    revised
}

/// Whether an object was made by another version of a server, and this one does not know it. `known`: the names of
/// this server's objects of that kind.
pub fn unwanted(stored: &Value, known: &[&str]) -> bool {
    let kept = object::annotation(stored, AUTOUPDATE).and_then(boolean) == Some(true);
    kept && !known.contains(&object::name(stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str, annotation: Option<&str>, generation: u64, spec: u64) -> Value {
        let mut value = json!({"metadata": {"name": name, "generation": generation}, "spec": {"a": spec}});
        if let Some(annotation) = annotation {
            value["metadata"]["annotations"] = json!({AUTOUPDATE: annotation});
        }
        value
    }

    #[test]
    fn operators_keep_what_they_changed_and_no_more() {
        for (name, annotation, generation, spec, said) in [
            ("x", Some("true"), 7, 1, "true"),
            ("x", Some("false"), 1, 2, "false"),
            ("x", None, 1, 1, "true"),
            ("x", None, 2, 2, "false"),
            ("x", Some("maybe"), 2, 2, "false"),
            ("x", Some("maybe"), 1, 1, "true"),
            (CATCH_ALL, Some("false"), 9, 1, "true"),
            (EXEMPT, None, 9, 1, "true"),
        ] {
            let revised = revise(&stored(name, annotation, generation, 2), &stored(name, None, 1, 1));
            assert_eq!(
                (&revised["spec"]["a"], &revised["metadata"]["annotations"][AUTOUPDATE]),
                (&json!(spec), &json!(said)),
                "{name} {annotation:?} {generation}"
            );
            assert_eq!(revise(&revised, &stored(name, None, 1, 1)), revised, "nothing is left to do");
        }
        let of = |name: &str, annotation| unwanted(&stored(name, annotation, 1, 1), &["x"]);
        assert_eq!(
            [of("x", Some("true")), of("y", Some("true")), of("y", Some("false")), of("y", None)],
            [false, true, false, false]
        );
    }
}
