//! Validation against what a kube-apiserver v1.36 answered: every measured case goes through decoding, defaulting
//! and the kind's hooks, as the registry would run them, and must end in the same code and causes.
//!
//! The cases are not part of this repository: `CASES_DIR` names their folder, else they are looked for beside the
//! checkout; where they are absent the test says so and passes.

#[path = "common/measured.rs"]
mod measured;

use std::collections::BTreeMap;

use api_codec::decode::{FieldValidation, conform};
use api_codec::default::apply_defaults;
use api_codec::patch::{PatchKind, apply};
use api_kinds::{Kind, meta};
use api_machinery::{ApiError, ErrorList, Value, object};
use api_schema::{Resource, Schema};
use measured::{delete, expand, folder, set, text};
use serde_json::json;

/// Metadata that the registry keeps, not the kind.
const KEPT_BY_THE_REGISTRY: [&str; 6] =
    ["creationTimestamp", "managedFields", "name", "namespace", "resourceVersion", "uid"];

/// Who decides a case that the pure crates do not: `api-http`'s own test of the cases goes through the whole server.
fn decided_elsewhere(case: &Value) -> Option<&'static str> {
    let causes = || case["expect"]["causes"].as_array().into_iter().flatten().map(|cause| text(&cause[0]));
    let set = || ["set", "pre"].into_iter().flat_map(|field| case[field].as_object().into_iter().flatten());
    let patched = |name: &&str| case["patch"]["metadata"].get(*name).is_some();
    let resource = text(&case["resource"]);
    if case["expect"]["code"] == 403 {
        return Some("admission");
    }
    if resource.contains('/') || resource == "tokenreviews" {
        return Some("those who issue tokens and look into them");
    }
    if causes().any(|field| field.ends_with(".securityContext.privileged")) {
        return Some("a flag of the server");
    }
    let is_kept = set().any(|(path, _)| path == "metadata.managedFields") || KEPT_BY_THE_REGISTRY.iter().any(patched);
    is_kept.then_some("the registry")
}

/// What came out: code, and causes in order of their text.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: u64,
    causes: Vec<String>,
}

impl Outcome {
    fn of(code: u64, mut causes: Vec<String>) -> Self {
        causes.sort();
        Self { code, causes }
    }
    fn expected(case: &Value) -> Self {
        let causes = case["expect"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
        let causes = causes.iter().map(|cause| format!("{} {}", text(&cause[0]), text(&cause[1]))).collect();
        Self::of(case["expect"]["code"].as_u64().unwrap_or(0), causes)
    }
    fn refused(error: &ApiError) -> Self {
        let causes = error.details.iter().flat_map(|details| &details.causes);
        Self::of(error.code.into(), causes.map(|cause| format!("{} {}", cause.field, cause.reason.as_str())).collect())
    }
    fn judged(errors: &ErrorList, code: u64) -> Self {
        let causes = errors.causes().iter().map(|cause| format!("{} {}", cause.field, cause.reason.as_str()));
        Self::of(if errors.is_empty() { code } else { 422 }, causes.collect())
    }
}

struct Target {
    resource: &'static Resource,
    kind: &'static dyn Kind,
    namespace: String,
}

impl Target {
    /// From `/apis/GROUP/VERSION[/namespaces/NS]/RESOURCE`.
    fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts[..] {
            ["api", version, ref rest @ ..] => ("", version, rest),
            ["apis", group, version, ref rest @ ..] => (group, version, rest),
            _ => return None,
        };
        let (namespace, plural) = match rest {
            ["namespaces", namespace, plural] => (*namespace, *plural),
            [plural] => ("", *plural),
            _ => return None,
        };
        let resource = Schema::builtin().resource(group, version, plural)?;
        Some(Self { resource, kind: api_kinds::of(&resource.group_resource()), namespace: namespace.to_owned() })
    }

    fn has_status(&self) -> bool {
        self.resource.subresource("status").is_some()
    }

    fn decode(&self, value: &mut Value) -> Result<(), ApiError> {
        let schema = Schema::builtin();
        let type_id = self.resource.type_id.expect("a resource with cases has a type");
        conform(schema, type_id, value, Vec::new(), FieldValidation::Ignore)?;
        apply_defaults(schema, self.resource, value);
        self.kind.default(value);
        Ok(())
    }

    /// As POST does.
    fn create(&self, value: &mut Value) -> Result<ErrorList, ApiError> {
        self.decode(value)?;
        let fields = object::meta_mut(value);
        if !self.namespace.is_empty() {
            fields.insert("namespace".to_owned(), self.namespace.as_str().into());
        }
        if self.resource.plural == "pods" && value["spec"]["serviceAccountName"].is_null() {
            // As admission does.
            value["spec"]["serviceAccountName"] = "default".into();
            self.kind.default(value);
        }
        let fields = object::meta_mut(value);
        fields.insert("uid".to_owned(), "0b5f1a7e-0000-4000-8000-000000000001".into());
        if object::name(value).is_empty() && !object::generate_name(value).is_empty() {
            let name = meta::generated_name(object::generate_name(value), "bcdfg");
            object::meta_mut(value).insert("name".to_owned(), name.into());
        }
        Schema::builtin().drop_disabled(self.resource, value, &Value::Null);
        self.kind.prepare_create(value, self.has_status());
        let mut errors = ErrorList::new();
        // Reviews have no metadata to speak of.
        if self.resource.has_verb("get") {
            meta::validate(self.kind, value, self.resource.namespaced, &mut errors);
        }
        self.kind.validate(value, &mut errors);
        Ok(errors)
    }

    /// As PATCH does.
    fn update(&self, old: &Value, patch: &Value) -> Result<ErrorList, ApiError> {
        let schema = Schema::builtin();
        let type_id = self.resource.type_id.expect("a resource with cases has a type");
        let mut new = apply(schema, type_id, PatchKind::Strategic, patch, old)?;
        self.decode(&mut new)?;
        schema.drop_disabled(self.resource, &mut new, old);
        self.kind.prepare_update(&mut new, old, self.has_status());
        self.kind.drop_counted(&mut new, old);
        let mut errors = ErrorList::new();
        meta::validate_update(&new, old, &mut errors);
        self.kind.validate(&new, &mut errors);
        self.kind.validate_update(&new, old, &mut errors);
        Ok(errors)
    }
}

/// What the rest of the server would have added before it is changed.
fn settle(value: &mut Value) {
    let fields = object::meta_mut(value);
    fields.insert("resourceVersion".to_owned(), "1".into());
    if value["kind"] == "Service" && value["spec"]["clusterIP"].is_null() {
        value["spec"]["clusterIP"] = "10.96.0.10".into();
        value["spec"]["clusterIPs"] = json!(["10.96.0.10"]);
    }
}

fn run(case: &Value, base: &Value) -> Option<Outcome> {
    let target = Target::of(text(&base["path"]))?;
    let mut value = base["object"].clone();
    for field in ["set", "pre"] {
        for (path, set_to) in case[field].as_object().into_iter().flatten() {
            set(&mut value, path, expand(set_to));
        }
    }
    for path in case["del"].as_array().into_iter().flatten() {
        delete(&mut value, text(path));
    }
    let created = match target.create(&mut value) {
        Ok(errors) => Outcome::judged(&errors, 201),
        Err(error) => return Some(Outcome::refused(&error)),
    };
    if case["op"] == "create" || created.code != 201 {
        return Some(check_result(case, &value, created));
    }
    settle(&mut value);
    Some(match target.update(&value, &expand(&case["patch"])) {
        Ok(errors) => Outcome::judged(&errors, 200),
        Err(error) => Outcome::refused(&error),
    })
}

/// A created object must also be as it was measured where that is told.
fn check_result(case: &Value, value: &Value, outcome: Outcome) -> Outcome {
    for (path, wanted) in case["expect"]["result"].as_object().into_iter().flatten() {
        let pointer = |path: &str| format!("/{}", path.replace('.', "/"));
        let found = match path.strip_suffix(".length") {
            Some(path) => value.pointer(&pointer(path)).and_then(Value::as_str).map(|text| text.len().into()),
            None => value.pointer(&pointer(path)).cloned(),
        };
        if found.as_ref() != Some(wanted) {
            return Outcome::of(0, vec![format!("{path} is {found:?}")]);
        }
    }
    outcome
}

#[test]
fn cases_in_the_pure_crates() {
    let Some(folder) = folder() else { return println!("skipped: the measured cases are not here") };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a readable file");
    let bases: BTreeMap<String, Value> = serde_json::from_str(&read("bases.json")).expect("JSON");
    let (mut passed, mut failed, mut elsewhere, mut all) = (0, Vec::new(), BTreeMap::new(), 0);
    for line in read("cases.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        all += 1;
        let id = text(&case["id"]);
        if let Some(who) = decided_elsewhere(&case) {
            *elsewhere.entry(who).or_insert(0) += 1;
            continue;
        }
        let found = run(&case, &bases[text(&case["resource"])]);
        let expected = Outcome::expected(&case);
        if found.as_ref() == Some(&expected) {
            passed += 1;
        } else {
            failed.push(format!("{id} {}: wanted {expected:?}, found {found:?}", text(&case["resource"])));
        }
    }
    println!("cases: {passed} of {all} pass, {} do not, others are decided by {elsewhere:?}", failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
