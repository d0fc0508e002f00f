//! The documents against upstream's, as counts of differences that only go down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use api_codec::openapi;
use api_machinery::Value;
use api_schema::Schema;

/// What is compared, each as a set of lines.
#[derive(Default)]
struct Lines {
    paths: BTreeSet<String>,
    operations: BTreeSet<String>,
    /// With all that is said of each.
    parameters: BTreeSet<String>,
    bodies: BTreeSet<String>,
    answers: BTreeSet<String>,
    schemas: BTreeSet<String>,
    /// Without `properties`.
    schema_facts: BTreeSet<String>,
    properties: BTreeSet<String>,
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Without descriptions and with sorted lists of words, so that only meaning counts.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept: serde_json::Map<String, Value> = map
                .iter()
                .filter(|(key, _)| *key != "description")
                .map(|(key, value)| (key.clone(), plain(value)))
                .collect();
            // `allOf` of one reference and nothing else is that reference.
            match kept.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
                Some([only]) if kept.len() == 1 => only.clone(),
                _ => Value::Object(kept),
            }
        }
        Value::Array(list) if list.iter().all(Value::is_string) => {
            let mut words: Vec<Value> = list.clone();
            words.sort_by_key(text);
            words.into()
        }
        Value::Array(list) => list.iter().map(plain).collect(),
        value => value.clone(),
    }
}

fn parameter(document: &Value, parameter: &Value) -> String {
    let resolved = match parameter["$ref"].as_str() {
        Some(reference) => &document["parameters"][reference.rsplit('/').next().unwrap_or("")],
        None => parameter,
    };
    plain(resolved).to_string()
}

/// A line for each media type of a body or an answer, or one without.
fn content(what: &Value) -> Vec<String> {
    let media = what["content"].as_object();
    match media {
        Some(media) => media.iter().map(|(media, said)| format!("{media} {}", plain(said))).collect(),
        None => vec![plain(what).to_string()],
    }
}

/// What v2 says of an operation's media types.
fn media(operation: &Value) -> Vec<String> {
    let of = |key: &str| -> Vec<String> {
        let all = operation[key].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|media| format!("{key} {}", text(media))).collect()
    };
    [of("consumes"), of("produces")].concat()
}

fn lines(document: &Value) -> Lines {
    let mut lines = Lines::default();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        lines.paths.insert(path.clone());
        let at_path = item["parameters"].as_array().map(Vec::as_slice).unwrap_or(&[]);
        for (method, operation) in item.as_object().into_iter().flatten().filter(|(method, _)| *method != "parameters")
        {
            let kind = &operation["x-kubernetes-group-version-kind"];
            lines.operations.insert(format!(
                "{path} {method} {} {} {kind} {}",
                text(&operation["operationId"]),
                text(&operation["x-kubernetes-action"]),
                operation["tags"]
            ));
            let own = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or(&[]);
            for one in at_path.iter().chain(own) {
                lines.parameters.insert(format!("{path} {method} {}", parameter(document, one)));
            }
            let body = &operation["requestBody"];
            if !body.is_null() {
                let must = &body["required"];
                lines.bodies.extend(content(body).iter().map(|said| format!("{path} {method} {must} {said}")));
            }
            for (code, answer) in operation["responses"].as_object().into_iter().flatten() {
                lines.answers.extend(content(answer).iter().map(|said| format!("{path} {method} {code} {said}")));
            }
            lines.answers.extend(media(operation).iter().map(|said| format!("{path} {method} {said}")));
        }
    }
    let schemas = match document.get("definitions") {
        Some(definitions) => definitions,
        None => &document["components"]["schemas"],
    };
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        lines.schemas.insert(name.clone());
        for (key, value) in plain(schema).as_object().into_iter().flatten() {
            if key == "properties" {
                for (property, value) in value.as_object().into_iter().flatten() {
                    lines.properties.insert(format!("{name} {property} {value}"));
                }
            } else if !(key == "x-kubernetes-group-version-kind" && value.as_array().is_some_and(|list| list.len() > 2))
            {
                lines.schema_facts.insert(format!("{name} {key} {value}"));
            }
        }
    }
    lines
}

/// Missing and surplus lines of each set; up to `shown` of them printed.
fn differences(what: &str, own: &Lines, upstream: &Lines, shown: usize) -> Vec<(&'static str, usize, usize)> {
    let sets = |lines: &'_ Lines| -> Vec<(&'static str, BTreeSet<String>)> {
        vec![
            ("paths", lines.paths.clone()),
            ("operations", lines.operations.clone()),
            ("parameters", lines.parameters.clone()),
            ("bodies", lines.bodies.clone()),
            ("answers", lines.answers.clone()),
            ("schemas", lines.schemas.clone()),
            ("schema facts", lines.schema_facts.clone()),
            ("properties", lines.properties.clone()),
        ]
    };
    let pairs = sets(own).into_iter().zip(sets(upstream));
    pairs
        .map(|((name, own), (_, upstream))| {
            let missing: Vec<&String> = upstream.difference(&own).collect();
            let surplus: Vec<&String> = own.difference(&upstream).collect();
            for line in missing.iter().take(shown) {
                println!("{what} {name} missing: {line}");
            }
            for line in surplus.iter().take(shown) {
                println!("{what} {name} surplus: {line}");
            }
            (name, missing.len(), surplus.len())
        })
        .collect()
}

/// Upstream's documents by path below `/openapi/v3/`.
fn upstream_v3() -> Option<BTreeMap<String, Value>> {
    let folder = crate::golden::place("openapi")?.join("live-default-v3-stripped");
    let entries = std::fs::read_dir(folder).ok()?;
    let read = |path: PathBuf| {
        let name = path.file_stem()?.to_str()?.replace("__", "/");
        let document = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        Some((name, document))
    };
    Some(entries.filter_map(|entry| read(entry.ok()?.path())).collect())
}

#[test]
fn golden_v3_documents_are_upstreams() {
    let Some(upstream) = upstream_v3() else {
        println!("skipped: no documents beside the checkout");
        return;
    };
    let own = openapi::v3(Schema::builtin());
    let mut total: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (name, document) in &own {
        let theirs = upstream.get(name).unwrap_or_else(|| panic!("upstream has no {name}"));
        for (what, missing, surplus) in differences(name, &lines(document), &lines(theirs), 3) {
            let sum = total.entry(what).or_default();
            *sum = (sum.0 + missing, sum.1 + surplus);
        }
    }
    let absent: Vec<&String> = upstream.keys().filter(|name| !own.contains_key(*name)).collect();
    println!("documents {} of {}, without {absent:?}", own.len(), upstream.len());
    assert!(absent.is_empty(), "documents that upstream has: {absent:?}");
    println!("missing and surplus: {total:?}");
    // Only to be lowered.
    let bounds = BTreeMap::from([
        ("answers", (0, 0)),
        ("bodies", (0, 0)),
        ("operations", (0, 0)),
        ("parameters", (0, 0)),
        ("paths", (0, 0)),
        ("properties", (0, 0)),
        ("schema facts", (0, 0)),
        ("schemas", (0, 0)),
    ]);
    for (what, bound) in bounds {
        let found = total[what];
        assert!(found.0 <= bound.0 && found.1 <= bound.1, "{what}: {found:?}, at most {bound:?}");
    }
}

#[test]
fn golden_v2_has_what_upstream_has() {
    let Some(folder) = crate::golden::place("openapi") else { return };
    let Ok(bytes) = std::fs::read(folder.join("stripped/swagger.json")) else {
        return println!("skipped: no document of v2 there");
    };
    let upstream: Value = serde_json::from_slice(&bytes).expect("JSON");
    let own = openapi::v2(Schema::builtin());
    // Upstream's has every version and gate on and no enums: what we have must be there.
    let counted = differences("v2", &lines(&own), &lines(&upstream), 3);
    println!("missing and surplus: {counted:?}");
    let surplus: BTreeMap<&str, usize> = counted.iter().map(|(what, _, surplus)| (*what, *surplus)).collect();
    for what in ["paths", "operations", "parameters", "answers", "schemas"] {
        assert_eq!(surplus[what], 0, "{what} that upstream does not have");
    }
}

/// What kubectl looks for, whether or not upstream's documents are there to compare.
#[test]
fn references_resolve() {
    let documents = openapi::v3(Schema::builtin());
    let apps = &documents["apis/apps/v1"];
    let schemas = &apps["components"]["schemas"];
    let kind = &schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"];
    assert_eq!(kind, &serde_json::json!([{"group": "apps", "kind": "Deployment", "version": "v1"}]));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    for (name, document) in documents.iter().chain([(&"v2".to_owned(), &openapi::v2(Schema::builtin()))]) {
        check(name, document, document);
    }
    fn check(name: &str, document: &Value, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                    let target = document.pointer(&reference[1..]);
                    assert!(target.is_some(), "{name}: {reference} leads nowhere");
                }
                map.values().for_each(|value| check(name, document, value));
            }
            Value::Array(list) => list.iter().for_each(|value| check(name, document, value)),
            _ => {}
        }
    }
}

/// What `kubectl explain` prints: of a kind, of fields, and of definitions that are no types.
#[test]
fn kinds_and_fields_carry_their_descriptions() {
    let (v2, v3) = (openapi::v2(Schema::builtin()), openapi::v3(Schema::builtin()));
    let documents = [&v2["definitions"], &v3["apis/apps/v1"]["components"]["schemas"]];
    for definitions in documents {
        let told = |name: &str, path: &str| {
            let value = definitions[name].pointer(&format!("{path}/description"));
            value.and_then(Value::as_str).unwrap_or_else(|| panic!("{name}{path} is not described")).to_owned()
        };
        let deployment = "io.k8s.api.apps.v1.Deployment";
        assert!(told(deployment, "").starts_with("Keeps copies of a pod running"));
        assert_eq!(told(deployment, "/properties/kind"), told("io.k8s.api.apps.v1.DaemonSet", "/properties/kind"));
        assert_eq!(told("io.k8s.api.apps.v1.DeploymentList", ""), "A list of Deployment objects.");
        let spec = "io.k8s.api.apps.v1.DeploymentSpec";
        assert_eq!(told(spec, "/properties/strategy"), "How old pods are replaced by new ones.");
        assert!(told("io.k8s.api.core.v1.PodTemplateSpec", "/properties/spec").starts_with("What the pods run"));
        assert!(told("io.k8s.api.core.v1.PodSpec", "/properties/terminationGracePeriodSeconds").contains("Default 30"));
        assert!(told("io.k8s.api.core.v1.Volume", "/properties/hostPath").contains("of the node"), "inlined");
        assert!(told("io.k8s.apimachinery.pkg.api.resource.Quantity", "").contains("powers of 1000"));
    }
    assert!(v2["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["description"].is_string());
    assert!(
        v3["api/v1"]["components"]["schemas"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]["description"]
            .is_string()
    );
    let version = &v2["definitions"]["io.k8s.apimachinery.pkg.version.Info"]["properties"];
    assert!(version.as_object().expect("properties").values().all(|property| property["description"].is_string()));
    let bare = |definitions: &Value| -> Vec<String> {
        let all = definitions.as_object().expect("definitions").iter();
        all.filter(|(_, one)| !one["description"].is_string()).map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(bare(&v2["definitions"]), Vec::<String>::new(), "definitions of v2 without description");
    for (name, document) in &v3 {
        assert_eq!(bare(&document["components"]["schemas"]), Vec::<String>::new(), "definitions of {name}");
    }
}

/// References with something beside them.
fn accompanied(value: &Value) -> usize {
    match value {
        Value::Object(map) if map.get("$ref").is_some_and(Value::is_string) => usize::from(map.len() > 1),
        Value::Object(map) => map.values().map(accompanied).sum(),
        Value::Array(list) => list.iter().map(accompanied).sum(),
        _ => 0,
    }
}

/// In v3 nothing may stand beside a reference; in v2 descriptions do.
#[test]
fn descriptions_and_references() {
    let v3: usize = openapi::v3(Schema::builtin()).values().map(accompanied).sum();
    assert_eq!(v3, 0, "references of v3 with something beside them");
    let v2 = openapi::v2(Schema::builtin());
    let definitions = v2["definitions"].as_object().expect("definitions").values();
    let properties = definitions.filter_map(|one| one["properties"].as_object()).flat_map(|all| all.values());
    let references: Vec<&Value> = properties.filter(|one| one["$ref"].is_string()).collect();
    let described = references.iter().filter(|one| one["description"].is_string()).count();
    println!("references of properties in v2: {}, described: {described}", references.len());
    assert!(described == references.len() && described > 600, "{described} of {}", references.len());
}

/// Every text of what is no type is used.
#[test]
fn special_descriptions_are_all_shown() {
    let v2 = openapi::v2(Schema::builtin());
    let definitions = v2["definitions"].as_object().expect("definitions");
    let (_, table) = api_schema::facts::DESCRIPTIONS.iter().find(|(name, _)| *name == "special").expect("the table");
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (name, text) = line.split_once('\t').expect("a tab");
        let (owner, property) = name.split_once('.').map_or((name, None), |(owner, name)| (owner, Some(name)));
        let shown = definitions.iter().filter(|(full, _)| full.rsplit('.').next() == Some(owner)).any(|(_, one)| {
            let told = property.map_or(one, |property| &one["properties"][property]);
            told["description"] == text
        });
        assert!(shown, "{name} describes no definition");
    }
}
