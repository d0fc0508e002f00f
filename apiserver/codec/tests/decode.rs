//! Parsing and conforming: every upstream sample passes unchanged, everything wrong is told in upstream's words.

use api_codec::decode::{FieldValidation, Format, check_merged, conform, parse, parse_object};
use api_machinery::{GroupVersion, GroupVersionKind, Value};
use api_schema::{Schema, TypeId};
use serde_json::json;

fn type_named(name: &str) -> TypeId {
    Schema::builtin().type_named(name).expect(name)
}

fn type_of(value: &Value) -> Option<TypeId> {
    let gv = GroupVersion::parse(value["apiVersion"].as_str()?);
    let kind = value["kind"].as_str()?.into();
    Schema::builtin().type_of_kind(&GroupVersionKind { group: gv.group, version: gv.version, kind })
}

/// Conforms strictly; the error message otherwise.
fn strictly(name: &str, mut value: Value) -> Result<Value, String> {
    conform(Schema::builtin(), type_named(name), &mut value, Vec::new(), FieldValidation::Strict)
        .map(|_| value)
        .map_err(|error| {
            assert_eq!((error.code, error.reason.as_str()), (400, "BadRequest"), "{}", error.message);
            error.message
        })
}

pub(crate) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| {
                let was_empty = value.as_object().is_some_and(|map| map.is_empty());
                without_nulls(value);
                // What held nothing but nulls goes as well.
                !value.is_null() && (was_empty || value.as_object().is_none_or(|map| !map.is_empty()))
            });
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Whether the samples are those beside the checkout, of which it is known how much they hold.
fn is_beside() -> bool {
    std::env::var_os("GOLDEN_DIR").is_none()
}

#[test]
fn golden_samples_pass_unchanged_in_json_and_yaml() {
    let Some(folder) = crate::golden::place("roundtrip") else { return };
    let entries = std::fs::read_dir(folder).expect("a folder of samples");
    let (mut json_samples, mut yaml_samples, mut skipped) = (0, 0, 0);
    for entry in entries {
        let path = entry.expect("an entry").path();
        let extension = path.extension().and_then(|one| one.to_str()).unwrap_or("").to_owned();
        let format = match extension.as_str() {
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            _ => continue,
        };
        let name = path.display();
        let bytes = std::fs::read(&path).expect("a sample");
        let parsed = parse(format, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(parsed.duplicates.is_empty(), "{name}: {:?}", parsed.duplicates);
        let mut expect = parsed.value.clone();
        let Some(type_id) = type_of(&expect) else {
            skipped += 1;
            continue;
        };
        without_nulls(&mut expect);
        let mut value = parsed.value;
        let checked = conform(Schema::builtin(), type_id, &mut value, Vec::new(), FieldValidation::Strict);
        checked.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(value == expect, "{name} changed:\n{value:#}\n{expect:#}");
        *(if format == Format::Json { &mut json_samples } else { &mut yaml_samples }) += 1;
    }
    println!(
        "golden JSON and YAML: {json_samples} JSON and {yaml_samples} YAML samples passed; {skipped} files are of \
         versions that v1.36 serves no more"
    );
    assert!(json_samples > 0, "no sample of what is served");
    assert!(json_samples == yaml_samples || !is_beside(), "{json_samples} {yaml_samples}");
}

#[test]
fn malformed_bodies() {
    let prefix = "couldn't get version/kind; json parse error: ";
    let deep = format!("{}1{}", "[".repeat(4000), "]".repeat(4000));
    let table = [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("{\"a\":\"b", "unexpected end of JSON input"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 \"b\":2}", "invalid character '\"' after object key:value pair"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("nope", "invalid character 'o' in literal null (expecting 'u')"),
        ("[true,fals ]", "invalid character ' ' in literal false (expecting 'e')"),
        ("'", "invalid character '\\'' looking for beginning of value"),
        ("\u{fc}", "invalid character '\u{c3}' looking for beginning of value"),
        (&deep, "exceeded max depth"),
    ];
    for (text, expect) in table {
        let error = parse(Format::Json, text.as_bytes()).expect_err(text);
        assert_eq!((error.code, error.message), (400, format!("{prefix}{expect}")), "{}", &text[..text.len().min(40)]);
    }
    assert_eq!(parse(Format::Json, &vec![b' '; 3 * 1024 * 1024 + 1]).expect_err("too large").code, 413);
    for text in ["a: [", "a: b: c", "{a", "\u{0}"] {
        let error = parse(Format::Yaml, text.as_bytes()).expect_err(text);
        assert!(error.code == 400 && error.message.starts_with("yaml: "), "{text:?}: {}", error.message);
    }
    for (text, kind, expect) in [
        ("", "Pod", "unexpected end of JSON input (<empty>)"),
        ("nope", "Pod", "invalid character 'o' in literal null (expecting 'u') (6e6f7065)"),
        ("{\"a\" 1}", "Pod", "invalid character '1' after object key ({\"a\" 1})"),
        ("{\"a\" 1}", "Secret", "invalid character '1' after object key (<secret contents redacted>)"),
        (
            "{ \"a\": \"a text that is too long\"",
            "Pod",
            "unexpected end of JSON input ({ \"a\": \"a text that is too lon ...)",
        ),
    ] {
        let error = parse_object(Format::Json, text.as_bytes(), kind).expect_err(text);
        let begin = format!("the object provided is unrecognized (must be of type {kind}): ");
        assert_eq!((error.code, error.message), (400, format!("{begin}{prefix}{expect}")));
    }
    let deep = "[".repeat(4000);
    assert_eq!(parse(Format::Yaml, deep.as_bytes()).expect_err("too deep").code, 400);
    // Aliases must not multiply.
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..10 {
        let refs = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
    }
    assert_eq!(parse(Format::Yaml, bomb.as_bytes()).expect_err("a bomb").code, 400);
}

#[test]
fn yaml_is_read_as_json() {
    let text = "a: 1\nb: [true, null, x]\nc:\n  1: one\n  true: yes\nd: 1.5\ne: \"1\"\n";
    let parsed = parse(Format::Yaml, text.as_bytes()).expect("valid");
    let expect = json!({"a": 1, "b": [true, null, "x"], "c": {"1": "one", "true": parsed.value["c"]["true"]}, "d": 1.5, "e": "1"});
    assert_eq!(parsed.value, expect);
    assert_eq!(parse(Format::Yaml, b"mode: 0644").expect("octal").value, json!({"mode": 420}));
    let doubled = parse(Format::Yaml, b"spec:\n  a: 1\n  a: 2\n").expect("last wins");
    assert_eq!(
        (doubled.value, doubled.duplicates),
        (json!({"spec": {"a": 2}}), vec!["duplicate field \"spec.a\"".to_owned()])
    );
}

#[test]
fn duplicates_and_unknown_fields() {
    let body = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","nmae":"b"},
        "spec":{"paused":true,"paused":false,"selector":{"matchLabels":{"a":"b","a":"c"}},
        "template":{"spec":{"containers":[{"name":"a","imag":"b","Image":"c"}]}}},"extra":{"a":1}}"#;
    let parsed = parse(Format::Json, body).expect("well formed");
    let deployment = type_named("apps.v1.Deployment");
    let expect = [
        "duplicate field \"spec.paused\"",
        "duplicate field \"spec.selector.matchLabels.a\"",
        "unknown field \"extra\"",
        "unknown field \"metadata.nmae\"",
        "unknown field \"spec.template.spec.containers[0].Image\"",
        "unknown field \"spec.template.spec.containers[0].imag\"",
    ];
    assert_eq!(parsed.duplicates, expect[..2]);
    let schema = Schema::builtin();
    let mut value = parsed.value.clone();
    let checked =
        conform(schema, deployment, &mut value, parsed.duplicates.clone(), FieldValidation::Warn).expect("warned");
    assert_eq!(checked.warnings, expect);
    assert_eq!(
        value,
        json!({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},
        "spec":{"selector":{"matchLabels":{"a":"c"}},"template":{"spec":{"containers":[{"name":"a"}]}}}})
    );
    let mut value = parsed.value.clone();
    let error = conform(schema, deployment, &mut value, parsed.duplicates.clone(), FieldValidation::Strict)
        .expect_err("strict");
    let listed = expect.join(", ");
    assert_eq!(
        error.message,
        format!("Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: {listed}")
    );
    let mut value = parsed.value;
    let checked = conform(schema, deployment, &mut value, parsed.duplicates, FieldValidation::Ignore).expect("ignored");
    assert!(checked.warnings.is_empty());
}

/// Upstream's converter of what was merged has words of its own.
#[test]
fn wrong_types_of_what_was_merged() {
    let merged = |mut value: Value| {
        let pod = type_named("core.v1.Pod");
        let checked = check_merged(Schema::builtin(), pod, &mut value, Vec::new(), FieldValidation::Ignore);
        checked.map(|_| value)
    };
    let container = |container: Value| json!({"spec": {"containers": [container]}});
    for (value, why) in [
        (json!({"metadata": {"labels": "x"}}), "cannot restore map from string"),
        (json!({"metadata": {"labels": {"a": 1}}}), "cannot convert int64 to string"),
        (json!({"metadata": {"labels": {"a": 1.5}}}), "unrecognized type: string"),
        (json!({"metadata": {"finalizers": {}}}), "cannot restore slice from map"),
        (json!({"spec": []}), "cannot restore struct from: slice"),
        (json!({"spec": {"hostNetwork": "true"}}), "unrecognized type: bool"),
        (json!({"spec": {"priority": "1"}}), "unrecognized type: int32"),
        (json!({"spec": {"priority": 1.5}}), "cannot convert float64 to int32"),
        (container(json!({"imagePullPolicy": 1})), "cannot convert int64 to v1.PullPolicy"),
    ] {
        assert_eq!(merged(value.clone()), Err(why.to_owned()), "{value}");
    }
    let priority = |priority: Value| json!({"spec": {"priority": priority}});
    assert_eq!(merged(priority(json!(1.0))), Ok(priority(json!(1))));
    assert_eq!(merged(priority(json!(4294967297u64))), Ok(priority(json!(1))));
}

#[test]
fn wrong_types() {
    let json_error = |text: &str| format!("Deployment in version \"v1\" cannot be handled as a Deployment: {text}");
    let field = |found: &str, place: &str, go: &str| {
        json_error(&format!("json: cannot unmarshal {found} into Go struct field {place} of type {go}"))
    };
    let container = |container: Value| json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let table = [
        (json!({"spec": {"replicas": "3"}}), field("string", "DeploymentSpec.spec.replicas", "int32")),
        (json!({"spec": {"replicas": 1.5}}), field("number 1.5", "DeploymentSpec.spec.replicas", "int32")),
        (
            json!({"spec": {"replicas": 2147483648u64}}),
            field("number 2147483648", "DeploymentSpec.spec.replicas", "int32"),
        ),
        (json!({"spec": {"paused": "yes"}}), field("string", "DeploymentSpec.spec.paused", "bool")),
        (json!({"spec": []}), field("array", "Deployment.spec", "v1.DeploymentSpec")),
        (json!({"metadata": {"labels": {"a": 1}}}), field("number", "ObjectMeta.metadata.labels", "string")),
        (json!({"metadata": {"labels": "a"}}), field("string", "ObjectMeta.metadata.labels", "map[string]string")),
        (
            json!({"metadata": {"generation": 9223372036854775808u64}}),
            field("number 9223372036854775808", "ObjectMeta.metadata.generation", "int64"),
        ),
        (container(json!("a")), field("string", "PodSpec.spec.template.spec.containers", "v1.Container")),
        (
            json!({"spec": {"template": {"spec": {"containers": {}}}}}),
            field("object", "PodSpec.spec.template.spec.containers", "[]v1.Container"),
        ),
        (
            container(json!({"command": [1]})),
            field("number", "Container.spec.template.spec.containers.command", "string"),
        ),
        (
            container(json!({"imagePullPolicy": 1})),
            field("number", "Container.spec.template.spec.containers.imagePullPolicy", "v1.PullPolicy"),
        ),
        (
            container(json!({"resources": {"limits": {"cpu": "much"}}})),
            json_error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ),
        (
            container(json!({"resources": {"limits": "x"}})),
            field("string", "ResourceRequirements.spec.template.spec.containers.resources.limits", "v1.ResourceList"),
        ),
        (
            container(json!({"readinessProbe": {"httpGet": {"port": {}}}})),
            field(
                "object",
                "HTTPGetAction.spec.template.spec.containers.readinessProbe.ProbeHandler.httpGet.port",
                "int32",
            ),
        ),
        (
            json!({"metadata": {"creationTimestamp": 1}}),
            json_error("json: cannot unmarshal number into Go value of type string"),
        ),
        (
            json!({"metadata": {"creationTimestamp": "today"}}),
            json_error("parsing time \"today\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"today\" as \"2006\""),
        ),
        // What a time says of itself comes before, wherever it stands.
        (
            json!({"metadata": {"creationTimestamp": "today", "annotations": 1, "labels": 1}}),
            json_error("parsing time \"today\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"today\" as \"2006\""),
        ),
        (json!([]), json_error("json: cannot unmarshal array into Go value of type v1.Deployment")),
    ];
    for (value, expect) in table {
        assert_eq!(strictly("apps.v1.Deployment", value.clone()), Err(expect), "{value}");
    }
    let error = strictly("core.v1.Secret", json!({"data": {"a": "YQ="}})).expect_err("base64");
    assert_eq!(error, "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0");
    let error = strictly("core.v1.Pod", json!({"apiVersion": "a/v9", "kind": "Other", "spec": 1})).expect_err("kind");
    assert!(error.starts_with("Other in version \"v9\" cannot be handled as a Pod: "), "{error}");
}

/// Of what is a schema or something else.
#[test]
fn wrong_types_in_schemas() {
    let place = "json: cannot unmarshal string into Go struct field JSONSchemaProps.x-kubernetes-validations of type";
    for (value, why) in [
        (json!({"additionalItems": "x"}), "boolean or JSON schema expected".to_owned()),
        (json!({"additionalProperties": [true]}), "boolean or JSON schema expected".to_owned()),
        (json!({"x-kubernetes-validations": "x"}), format!("{place} v1.ValidationRules")),
        (json!({"x-kubernetes-validations": ["x"]}), format!("{place} v1.ValidationRule")),
    ] {
        let prefix = "JSONSchemaProps in version \"v1\" cannot be handled as a JSONSchemaProps: ";
        assert_eq!(strictly("apiextensions.v1.JSONSchemaProps", value), Err(format!("{prefix}{why}")));
    }
}

#[test]
fn what_stays() {
    let table = [
        // Nulls, zero values and empty collections that Go leaves out.
        (
            "apps.v1.Deployment",
            json!({"spec": {"replicas": null, "paused": false, "minReadySeconds": 0}}),
            json!({"spec": {}}),
        ),
        ("apps.v1.Deployment", json!({"spec": {"replicas": 0}}), json!({"spec": {"replicas": 0}})),
        (
            "core.v1.Pod",
            json!({"metadata": {"labels": {}, "annotations": null}, "spec": {"containers": [], "volumes": []}}),
            json!({"metadata": {}, "spec": {"containers": []}}),
        ),
        (
            "core.v1.Pod",
            json!({"spec": {"volumes": [{"name": "a", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "a", "emptyDir": {}}]}}),
        ),
        ("core.v1.ConfigMap", json!({"data": {"a": null, "b": ""}}), json!({"data": {"a": "", "b": ""}})),
        // Empty collections that validation tells from none.
        ("core.v1.ConfigMap", json!({"data": {}, "binaryData": {}}), json!({"binaryData": {}})),
        (
            "networking.v1.NetworkPolicy",
            json!({"spec": {"podSelector": {"matchLabels": {}}, "ingress": [], "egress": [{"to": [], "ports": null}]}}),
            json!({"spec": {"podSelector": {}, "ingress": [], "egress": [{"to": []}]}}),
        ),
        // Canonical quantities, rounded up to thousandths in resource lists.
        (
            "core.v1.Pod",
            json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi", "x": 2}, "requests": {"cpu": "1u"}}}]}}),
            json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "1Gi", "x": "2"}, "requests": {"cpu": "1m"}}}]}}),
        ),
        // Times in UTC and whole seconds, micro times with six digits.
        (
            "coordination.v1.Lease",
            json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05.9+01:00"}, "spec": {"renewTime": "2026-01-02T04:04:05.600000+01:00"}}),
            json!({"metadata": {"creationTimestamp": "2026-01-02T02:04:05Z"}, "spec": {"renewTime": "2026-01-02T03:04:05.600000Z"}}),
        ),
        ("core.v1.Secret", json!({"data": {"a": "YWJj\nZA=="}}), json!({"data": {"a": "YWJjZA=="}})),
        // What has no schema is kept as it is.
        (
            "apps.v1.ControllerRevision",
            json!({"revision": 0, "data": {"a": null, "b": [{}]}}),
            json!({"revision": 0, "data": {"a": null, "b": [{}]}}),
        ),
        (
            "apiextensions.v1.JSONSchemaProps",
            json!({"items": [{"type": "a"}], "additionalProperties": false, "default": null, "enum": [1, "a", null]}),
            json!({"items": [{"type": "a"}], "additionalProperties": false, "enum": [1, "a", null]}),
        ),
        ("apiextensions.v1.JSONSchemaProps", json!({"type": "array", "items": "x"}), json!({"type": "array"})),
    ];
    for (name, value, expect) in table {
        assert_eq!(strictly(name, value.clone()), Ok(expect), "{name} {value}");
    }
}

/// Time this thread has run, so that other work on the machine does not count. `None` where the kernel does not say.
fn cpu_nanos() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

/// Printed, and bound loosely: the test build is several times slower than a release build.
#[test]
fn a_large_pod_is_checked_quickly() {
    let container = |n: usize| {
        let env: Vec<Value> = (0..40)
            .map(|i| json!({"name": format!("VARIABLE_{i}"), "value": format!("some value number {i}")}))
            .collect();
        json!({"name": format!("c{n}"), "image": "registry.example/app:1", "env": env,
            "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}, "volumeMounts": [{"name": "a", "mountPath": "/a"}]})
    };
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"app": "a"}},
        "spec": {"containers": (0..8).map(container).collect::<Vec<_>>()}});
    let bytes = serde_json::to_vec(&pod).expect("written");
    let (schema, pod_type) = (Schema::builtin(), type_named("core.v1.Pod"));
    // A checked object is checked again with the same work; many runs, because the clock is coarse.
    let runs: u32 = 500;
    let mut value = pod;
    let started = cpu_nanos();
    for _ in 0..runs {
        conform(schema, pod_type, &mut value, Vec::new(), FieldValidation::Strict).expect("valid");
    }
    let Some(nanos) = cpu_nanos().zip(started).map(|(end, start)| end - start) else { return };
    let micros = nanos / 1000 / u64::from(runs);
    println!("conform of {} bytes took {micros} µs", bytes.len());
    assert!(micros < 2_000, "{micros} µs");
}

/// Every value of an object, as JSON pointers.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            pointers(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), out));
        }
        _ => {}
    }
}

/// Puts every kind of value in every place of the smaller samples: it is refused with 400, or what is accepted
/// stays as it is when it is checked and defaulted again.
#[test]
fn golden_samples_with_any_value_anywhere_are_refused_or_settle() {
    let Some(folder) = crate::golden::place("roundtrip") else { return };
    let entries = std::fs::read_dir(folder).expect("a folder of samples");
    let schema = Schema::builtin();
    let others = [
        json!(null),
        json!(7),
        json!(1.5),
        json!(-1),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([null]),
        json!(true),
    ];
    let (mut refused, mut accepted) = (0, 0);
    for entry in entries {
        let path = entry.expect("an entry").path();
        let small = path.metadata().is_ok_and(|meta| meta.len() < 5_000);
        if !small || path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let sample = parse(Format::Json, &std::fs::read(&path).expect("a sample")).expect("well formed").value;
        let Some(type_id) = type_of(&sample) else { continue };
        let mut places = Vec::new();
        pointers(&sample, "", &mut places);
        for (place, other) in places.iter().flat_map(|place| others.iter().map(move |other| (place, other))) {
            let mut value = sample.clone();
            *value.pointer_mut(place).expect("own place") = other.clone();
            match conform(schema, type_id, &mut value, Vec::new(), FieldValidation::Ignore) {
                Err(error) => {
                    assert_eq!(error.code, 400, "{place} {other}: {error}");
                    refused += 1;
                }
                Ok(_) => {
                    api_codec::default::apply_type_defaults(schema, type_id, &mut value);
                    let once = value.clone();
                    conform(schema, type_id, &mut value, Vec::new(), FieldValidation::Strict)
                        .unwrap_or_else(|error| panic!("{} {place} {other}: {error}", path.display()));
                    api_codec::default::apply_type_defaults(schema, type_id, &mut value);
                    assert!(value == once, "{} {place} {other}:\n{once:#}\n{value:#}", path.display());
                    accepted += 1;
                }
            }
        }
    }
    println!("{refused} refused, {accepted} accepted");
    let least = if is_beside() { 1000 } else { 0 };
    assert!(refused > least && accepted > least);
}
