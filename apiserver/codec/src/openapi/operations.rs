//! One operation: parameters, body, answers, and upstream's name for it.

use api_machinery::{GroupVersion, GroupVersionKind, Value};
use serde_json::{Map, json};

use super::Dialect;

pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) action: Option<&'static str>,
    pub(super) gvk: Option<GroupVersionKind>,
    pub(super) tag: String,
    pub(super) parameters: Vec<Parameter>,
    /// Definition of the body, and whether there must be one.
    pub(super) body: Option<(String, bool)>,
    /// Code and definition; `None`: a plain string.
    pub(super) answers: Vec<(&'static str, Option<String>)>,
    pub(super) speaks: Speaks,
}

/// What an operation takes and answers.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Speaks {
    Discovery,
    Objects,
    /// Objects, or events of them.
    Watch,
    Log,
    Version,
    /// Who signs tokens.
    Issuer,
    /// With which keys.
    Keys,
    /// Whatever the other side says.
    Anything,
}

#[derive(Clone, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) in_path: bool,
}

impl Parameter {
    pub(super) fn query(name: &str, kind: &'static str) -> Self {
        Self { name: name.to_owned(), kind, in_path: false }
    }
    pub(super) fn path(name: &str) -> Self {
        Self { name: name.to_owned(), kind: "string", in_path: true }
    }
    fn to_json(&self, dialect: Dialect) -> Value {
        let mut out = Map::from_iter([
            ("name".to_owned(), self.name.as_str().into()),
            ("in".to_owned(), if self.in_path { "path" } else { "query" }.into()),
        ]);
        if self.in_path {
            out.insert("required".to_owned(), true.into());
        }
        match dialect {
            Dialect::V3 => {
                out.insert("schema".to_owned(), json!({"type": self.kind, "uniqueItems": true}));
            }
            Dialect::V2 => {
                out.insert("type".to_owned(), self.kind.into());
                out.insert("uniqueItems".to_owned(), true.into());
            }
        }
        Value::Object(out)
    }
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const OBJECTS: [&str; 3] = ["application/json", "application/yaml", PROTOBUF];
const WATCH: [&str; 5] = [
    "application/json",
    "application/yaml",
    PROTOBUF,
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const LOG: [&str; 4] = ["text/plain", "application/json", "application/yaml", PROTOBUF];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Query parameters by what they are for.
pub(super) fn query(names: &[&str]) -> Vec<Parameter> {
    let kind = |name: &str| match name {
        "allowWatchBookmarks"
        | "force"
        | "ignoreStoreReadErrorWithClusterBreakingPotential"
        | "orphanDependents"
        | "sendInitialEvents"
        | "watch" => "boolean",
        "gracePeriodSeconds" | "limit" | "timeoutSeconds" => "integer",
        _ => "string",
    };
    names.iter().map(|name| Parameter::query(name, kind(name))).collect()
}

impl Operation {
    fn media(&self) -> &'static [&'static str] {
        match self.speaks {
            Speaks::Discovery | Speaks::Objects => &OBJECTS,
            Speaks::Watch => &WATCH,
            Speaks::Log => &LOG,
            Speaks::Version | Speaks::Issuer => &["application/json"],
            Speaks::Keys => &["application/jwk-set+json"],
            Speaks::Anything => &["*/*"],
        }
    }

    /// Nothing where upstream says nothing.
    fn body_media(&self) -> &'static [&'static str] {
        match self.speaks {
            Speaks::Discovery => &OBJECTS,
            Speaks::Version => &["application/json"],
            Speaks::Issuer | Speaks::Keys => &[],
            Speaks::Objects if self.method == "patch" => &PATCHES,
            Speaks::Objects | Speaks::Watch | Speaks::Log | Speaks::Anything => &["*/*"],
        }
    }

    fn answers_json(&self, dialect: Dialect) -> Value {
        let mut out = Map::new();
        for (code, definition) in &self.answers {
            let what = match definition {
                Some(name) => dialect.reference(name),
                None => json!({"type": "string"}),
            };
            let answer = match dialect {
                Dialect::V2 => json!({"description": "OK", "schema": what}),
                Dialect::V3 => {
                    let content: Map<String, Value> =
                        self.media().iter().map(|media| ((*media).to_owned(), json!({"schema": what}))).collect();
                    json!({"description": "OK", "content": content})
                }
            };
            out.insert((*code).to_owned(), answer);
        }
        out.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        Value::Object(out)
    }

    /// `shared` are the parameters that stand at the path.
    fn to_json(&self, dialect: Dialect, shared: &[Parameter]) -> Value {
        let mut out = Map::from_iter([
            ("operationId".to_owned(), self.id.as_str().into()),
            ("tags".to_owned(), json!([self.tag])),
            ("responses".to_owned(), self.answers_json(dialect)),
        ]);
        let own = self.parameters.iter().filter(|one| !shared.contains(one));
        let mut parameters: Vec<Value> = own.map(|one| one.to_json(dialect)).collect();
        if let Some((definition, required)) = &self.body {
            let schema = dialect.reference(definition);
            // Said only where it is so.
            let must = |mut body: Value| {
                if *required {
                    body["required"] = true.into();
                }
                body
            };
            match dialect {
                Dialect::V2 => parameters.insert(0, must(json!({"name": "body", "in": "body", "schema": schema}))),
                Dialect::V3 => {
                    let media = self.body_media().iter();
                    let content: Map<String, Value> =
                        media.map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect();
                    out.insert("requestBody".to_owned(), must(json!({"content": content})));
                }
            }
        }
        if !parameters.is_empty() {
            out.insert("parameters".to_owned(), parameters.into());
        }
        if dialect == Dialect::V2 {
            out.insert("schemes".to_owned(), json!(["https"]));
            if !self.body_media().is_empty() {
                out.insert("consumes".to_owned(), self.body_media().into());
            }
            out.insert("produces".to_owned(), self.media().into());
        }
        if let Some(action) = self.action {
            out.insert("x-kubernetes-action".to_owned(), action.into());
        }
        if let Some(gvk) = &self.gvk {
            let gvk = json!({"group": &*gvk.group, "kind": &*gvk.kind, "version": &*gvk.version});
            out.insert("x-kubernetes-group-version-kind".to_owned(), gvk);
        }
        Value::Object(out)
    }
}

/// The operations of one path; parameters that all of them have stand at the path.
pub(super) fn path_item(mut operations: Vec<Operation>, dialect: Dialect) -> Value {
    for operation in &mut operations {
        operation.parameters.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let Some((first, others)) = operations.split_first() else { return json!({}) };
    let everywhere = |one: &&Parameter| others.iter().all(|operation| operation.parameters.contains(one));
    let shared: Vec<Parameter> = first.parameters.iter().filter(everywhere).cloned().collect();
    let mut out = Map::new();
    if !shared.is_empty() {
        out.insert("parameters".to_owned(), shared.iter().map(|one| one.to_json(dialect)).collect());
    }
    for operation in &operations {
        out.insert(operation.method.to_owned(), operation.to_json(dialect, &shared));
    }
    Value::Object(out)
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + chars.as_str())
}

/// `Core`, `Apps`, `RbacAuthorization`: a group in operation ids.
pub(super) fn group_words(group: &str) -> String {
    if group.is_empty() {
        return "Core".to_owned();
    }
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    short.split('.').map(upper_first).collect()
}

/// `AppsV1`
pub(super) fn gv_words(gv: &GroupVersion) -> String {
    group_words(&gv.group) + &upper_first(&gv.version)
}

/// `apps_v1`, `rbacAuthorization_v1`
pub(super) fn tag(gv: &GroupVersion) -> String {
    let words = group_words(&gv.group);
    format!("{}{}_{}", words[..1].to_ascii_lowercase(), &words[1..], gv.version)
}

/// `Status`, `Ephemeralcontainers`
pub(super) fn subresource_words(name: &str) -> String {
    upper_first(name)
}
