//! Objects as upstream's errors show them: as JSON of its internal types, which have other names of fields, another
//! order and no field left out. `facts/internal_types.tsv` lists these types.

use std::collections::HashMap;
use std::sync::LazyLock;

use api_machinery::Value;
use api_machinery::quantity::Quantity;
use api_machinery::quote::json_quoted;

use crate::at::{child, is_empty};
use crate::list::core_unified_diff::unified;

static TYPES: LazyLock<HashMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let text = include_str!("../../facts/internal_types.tsv");
    text.lines().filter(|line| !line.starts_with('#')).map(read_type).collect()
});

struct Field {
    name: &'static str,
    json: &'static str,
    shape: Shape,
    /// Not shown while there is nothing in it.
    may_lack: bool,
}

#[derive(Clone, Copy)]
enum Shape {
    /// Something without a type of its own, and how it looks when unset.
    Plain(&'static str),
    /// Always there.
    Whole(&'static str),
    /// A list of the type, or one that may be missing.
    Part(&'static str),
    /// Its fields are the holder's.
    Inlined(&'static str),
}

enum Json {
    Plain(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// How two objects of one internal type differ.
pub(crate) fn difference(of: &str, old: &Value, new: &Value) -> String {
    unified(&text(of, old, Some(0)), &text(of, new, Some(0)))
}

/// Whether both are the same to upstream: amounts by their value, an empty list or map as one that is unset. Unlike
/// [`crate::at::same`], a part without anything in it, an empty string or `false` may be more than what is unset.
pub(crate) fn same(of: &str, left: &Value, right: &Value) -> bool {
    left == right || whole(left, of).is_same(&whole(right, of), false)
}

/// As a bad value is shown: in one line. There may be none, or a list of that type.
pub(crate) fn shown(of: &str, value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| text(of, item, None)).collect();
            format!("[{}]", items.join(","))
        }
        _ => text(of, value, None),
    }
}

/// The spec of a pod with what belongs to the security context inside upstream's server.
pub(crate) fn pod_spec(spec: &Value) -> Value {
    const MOVED: [&str; 5] = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];
    let mut moved = spec.clone();
    let mut context = child(spec, "securityContext").as_object().cloned().unwrap_or_default();
    let fields = MOVED.iter().filter_map(|field| Some((field, spec.get(field)?)));
    context.extend(fields.map(|(field, value)| ((*field).to_owned(), value.clone())));
    if let Some(map) = moved.as_object_mut() {
        map.insert("securityContext".to_owned(), context.into());
    }
    moved
}

fn text(of: &str, value: &Value, depth: Option<usize>) -> String {
    let mut text = String::new();
    whole(value, of).write(depth, &mut text);
    text
}

/// Its name, then a field after the other: Go name, JSON name, shape.
fn read_type(line: &'static str) -> (&'static str, Vec<Field>) {
    let (of, fields) = line.split_once('\t').unwrap_or((line, ""));
    (of, fields.split('\t').filter_map(read_field).collect())
}

fn read_field(text: &'static str) -> Option<Field> {
    let (name, rest) = text.split_once(':')?;
    let (json, shape) = rest.split_once(':')?;
    let shown = shape.trim_start_matches('?');
    Some(Field { name, json, shape: Shape::read(shown), may_lack: shown.len() < shape.len() })
}

impl Shape {
    fn read(text: &'static str) -> Self {
        match text {
            "string" => Self::Plain("\"\""),
            "number" => Self::Plain("0"),
            "bool" => Self::Plain("false"),
            "amount" => Self::Plain("\"0\""),
            "any" => Self::Plain("null"),
            _ => match text.strip_prefix('+') {
                Some(inlined) => Self::Inlined(inlined),
                None => text.strip_prefix('*').or(text.strip_prefix("[]")).map_or(Self::Whole(text), Self::Part),
            },
        }
    }
}

fn whole(value: &Value, of: &str) -> Json {
    let mut fields = Vec::new();
    add_fields(value, of, &mut fields);
    Json::Object(fields)
}

fn add_fields(value: &Value, of: &str, fields: &mut Vec<(String, Json)>) {
    for field in TYPES.get(of).into_iter().flatten() {
        let inner = child(value, field.json);
        match field.shape {
            Shape::Inlined(part) => add_fields(value, part, fields),
            _ if field.may_lack && is_empty(inner) => {}
            shape => fields.push((field.name.to_owned(), shaped(inner, shape))),
        }
    }
}

fn shaped(value: &Value, shape: Shape) -> Json {
    match (shape, value) {
        (Shape::Plain(unset), Value::Null) => Json::Plain(unset.to_owned()),
        (Shape::Plain(_), _) => plain(value),
        (Shape::Part(of), Value::Array(items)) => Json::List(items.iter().map(|item| whole(item, of)).collect()),
        (Shape::Part(_), Value::Null) => Json::Plain("null".to_owned()),
        (Shape::Part(of) | Shape::Whole(of) | Shape::Inlined(of), _) => whole(value, of),
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Array(items) => Json::List(items.iter().map(plain).collect()),
        Value::Object(map) => Json::Object(map.iter().map(|(key, value)| (key.clone(), plain(value))).collect()),
        Value::String(text) => Json::Plain(json_quoted(text)),
        other => Json::Plain(other.to_string()),
    }
}

/// The fields that hold amounts of something.
fn holds_amounts(field: &str) -> bool {
    matches!(field, "Requests" | "Limits" | "Overhead" | "SizeLimit" | "Divisor")
}

fn is_same_amount(left: &str, right: &str) -> bool {
    let read = |text: &str| Quantity::parse(text.trim_matches('"'));
    matches!((read(left), read(right)), (Ok(left), Ok(right)) if left.nano == right.nano)
}

impl Json {
    fn is_same(&self, other: &Self, amounts: bool) -> bool {
        match (self, other) {
            (Self::Plain(left), Self::Plain(right)) => left == right || (amounts && is_same_amount(left, right)),
            (Self::List(left), Self::List(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.is_same(right, amounts))
            }
            (Self::Object(left), Self::Object(right)) => {
                let is_same = |((name, left), (other, right)): (&(String, Json), &(String, Json))| {
                    name == other && left.is_same(right, amounts || holds_amounts(name))
                };
                left.len() == right.len() && left.iter().zip(right).all(is_same)
            }
            (left, right) => left.is_unset() && right.is_unset(),
        }
    }

    fn is_unset(&self) -> bool {
        match self {
            Self::Plain(plain) => plain == "null",
            Self::List(items) => items.is_empty(),
            Self::Object(fields) => fields.is_empty(),
        }
    }

    /// In one line, or from `depth` on each part in its own line, further in by one.
    fn write(&self, depth: Option<usize>, text: &mut String) {
        match self {
            Self::Plain(plain) => text.push_str(plain),
            Self::List(items) => write_block(['[', ']'], items, depth, text, &|item, depth, text| {
                item.write(depth, text);
            }),
            Self::Object(fields) => write_block(['{', '}'], fields, depth, text, &|(name, value), depth, text| {
                text.push_str(&json_quoted(name));
                text.push_str(if depth.is_some() { ": " } else { ":" });
                value.write(depth, text);
            }),
        }
    }
}

fn write_block<T>(
    [open, close]: [char; 2],
    parts: &[T],
    depth: Option<usize>,
    text: &mut String,
    write: &dyn Fn(&T, Option<usize>, &mut String),
) {
    let inner = depth.map(|depth| depth + 1);
    text.push(open);
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        break_line(inner, text);
        write(part, inner, text);
    }
    if !parts.is_empty() {
        break_line(depth, text);
    }
    text.push(close);
}

fn break_line(depth: Option<usize>, text: &mut String) {
    if let Some(depth) = depth {
        text.push('\n');
        text.push_str(&" ".repeat(depth));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn in_one_line() {
        let claim = json!({"name": "a<b"});
        let expected = r#"{"Name":"a\u003cb","ResourceClaimName":null,"ResourceClaimTemplateName":null}"#;
        assert_eq!(shown("PodResourceClaim", &claim), expected);
        let selector = json!({"matchExpressions": [{"key": "k", "operator": "Exists"}]});
        assert_eq!(shown("LabelSelector", &selector), r#"{"matchExpressions":[{"key":"k","operator":"Exists"}]}"#);
        let file = json!({"volumeName": "v", "optional": true});
        assert_eq!(shown("FileKeySelector", &file), r#"{"VolumeName":"v","Path":"","Key":"","Optional":true}"#);
    }

    #[test]
    fn inlined_parts_and_those_of_the_security_context() {
        let probe = json!({"tcpSocket": {"port": "http"}, "periodSeconds": 3});
        let expected = [
            r#"{"Exec":null,"HTTPGet":null,"TCPSocket":{"Port":"http","Host":""},"GRPC":null,"#,
            r#""InitialDelaySeconds":0,"TimeoutSeconds":0,"PeriodSeconds":3,"SuccessThreshold":0,"#,
            r#""FailureThreshold":0,"TerminationGracePeriodSeconds":null}"#,
        ];
        assert_eq!(shown("Probe", &probe), expected.concat());
        let old = pod_spec(&json!({"containers": []}));
        let new = pod_spec(&json!({"containers": [], "hostNetwork": true}));
        let lines = difference("PodSpec", &old, &new);
        assert!(lines.contains("-  \"HostNetwork\": false,\n+  \"HostNetwork\": true,\n"), "{lines}");
    }

    #[test]
    fn what_is_the_same() {
        let spec = |more: Value| {
            let mut spec = json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]});
            spec.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
            spec
        };
        let is_same = |left: Value, right: Value| same("PodSpec", &left, &right);
        let with_limit = |amount: &str| spec(json!({"overhead": {"cpu": amount}}));
        assert!(is_same(with_limit("1000m"), with_limit("1")));
        assert!(!is_same(with_limit("2"), with_limit("1")));
        assert!(is_same(spec(json!({"volumes": [], "nodeSelector": {}, "nodeName": ""})), spec(json!({}))));
        assert!(!is_same(spec(json!({"affinity": {}})), spec(json!({}))));
        assert!(!is_same(spec(json!({"hostnameOverride": ""})), spec(json!({}))));
        assert!(!is_same(spec(json!({"setHostnameAsFQDN": false})), spec(json!({}))));
    }

    #[test]
    fn every_type_that_is_named_is_listed() {
        for field in TYPES.values().flatten() {
            if let Shape::Whole(of) | Shape::Part(of) | Shape::Inlined(of) = field.shape {
                assert!(TYPES.contains_key(of), "{of}");
            }
        }
    }
}
