//! What counts as a change: what stands behind a pointer in Go is more than nothing, be it empty or `false`. And what
//! schemas, paths and ports that were measured are told.

use api_codec::decode::{FieldValidation, conform};
use api_codec::default::apply_defaults;
use api_kinds::Kind;
use api_machinery::{ErrorList, Value, object};
use api_schema::Schema;
use serde_json::json;

/// A kind, and its sample with a part (`/spec/os`) put in, as a request has it.
fn made(group: &str, version: &str, plural: &str, pointer: &str, part: Value) -> (&'static dyn Kind, Value) {
    let schema = Schema::builtin();
    let resource = schema.resource(group, version, plural).expect("served");
    let kind = api_kinds::of(&resource.group_resource());
    let mut object = kind.sample();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("a parent")[field] = part;
    let type_id = resource.type_id.expect("a type");
    conform(schema, type_id, &mut object, Vec::new(), FieldValidation::Strict).expect("decoded");
    apply_defaults(schema, resource, &mut object);
    kind.default(&mut object);
    (kind, object)
}

fn said(validate: impl FnOnce(&mut ErrorList)) -> Vec<String> {
    let mut errors = ErrorList::new();
    validate(&mut errors);
    errors.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

/// What an update from one to the other is told.
fn update(old: (&dyn Kind, Value), new: (&dyn Kind, Value)) -> Vec<String> {
    let [mut before, mut after] = [old.1, new.1];
    for object in [&mut before, &mut after] {
        object::meta_mut(object).insert("resourceVersion".to_owned(), "1".into());
    }
    said(|errors| new.0.validate_update(&after, &before, errors))
}

#[test]
fn of_claims() {
    let claim = |field: &str, value: Value| made("", "v1", "persistentvolumeclaims", &format!("/spec/{field}"), value);
    let class = || claim("volumeAttributesClassName", json!(null));
    let told = update(class(), claim("volumeAttributesClassName", json!("")));
    let detail = "spec: Forbidden: spec is immutable after creation except resources.requests and \
                  volumeAttributesClassName for bound claims\n";
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(detail), "{told:?}");
    assert!(told[0].contains("- \"VolumeAttributesClassName\": null\n+ \"VolumeAttributesClassName\": \"\"\n"));
    assert_eq!(update(class(), class()), [""; 0]);
    let source =
        |group: Value| claim("dataSource", json!({"kind": "PersistentVolumeClaim", "name": "x", "apiGroup": group}));
    assert!(update(source(json!(null)), source(json!(""))).iter().any(|one| one.starts_with(detail)));
}

#[test]
fn of_claims_in_templates() {
    let set = |class: Value| {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                          "storageClassName": class});
        let templates = json!([{"metadata": {"name": "v"}, "spec": spec}]);
        made("apps", "v1", "statefulsets", "/spec/volumeClaimTemplates", templates)
    };
    let told = update(set(json!(null)), set(json!("")));
    assert!(told.iter().any(|one| one.starts_with("spec: Forbidden: updates to statefulset spec")), "{told:?}");
    assert_eq!(update(set(json!("")), set(json!(""))), [""; 0]);
}

#[test]
fn generations() {
    let flags = [
        ("storage.k8s.io", "csidrivers", "/spec/serviceAccountTokenInSecrets", json!(false)),
        ("batch", "cronjobs", "/spec/jobTemplate/spec/suspend", json!(false)),
        ("batch", "cronjobs", "/spec/jobTemplate/spec/managedBy", json!("")),
        ("apps", "deployments", "/spec/template/spec/automountServiceAccountToken", json!(false)),
        ("apps", "daemonsets", "/spec/template/spec/runtimeClassName", json!("")),
        ("networking.k8s.io", "ingresses", "/spec/ingressClassName", json!("")),
    ];
    for (group, plural, pointer, said) in flags {
        let of = |value: Value| made(group, "v1", plural, pointer, value);
        let ((kind, with), (_, without)) = (of(said), of(json!(null)));
        assert!(kind.generation_grows(&with, &without) && kind.generation_grows(&without, &with), "{pointer}");
        assert!(!kind.generation_grows(&with, &with), "{pointer}");
    }
    // These are plain.
    let plain = [
        ("apps", "deployments", "/spec/paused", json!(false)),
        ("apps", "deployments", "/spec/template/spec/nodeName", json!("")),
        ("apps", "deployments", "/spec/template/spec/hostNetwork", json!(false)),
    ];
    for (group, plural, pointer, said) in plain {
        let of = |value: Value| made(group, "v1", plural, pointer, value);
        let ((kind, with), (_, without)) = (of(said), of(json!(null)));
        assert!(!kind.generation_grows(&with, &without), "{pointer}");
    }
}

#[test]
fn rules_of_what_changes_as_a_whole() {
    let told = |map: Value| {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-map-type": map,
            "properties": {"a": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}}});
        let versions = json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]);
        let plural = "customresourcedefinitions";
        let (kind, mut object) = made("apiextensions.k8s.io", "v1", plural, "/spec/versions", versions);
        kind.prepare_create(&mut object, true);
        said(|errors| kind.validate(&object, errors))
    };
    assert_eq!(told(json!(null)), [""; 0]);
    assert_eq!(told(json!("granular")), [""; 0]);
    assert_eq!(
        told(json!("atomic")),
        ["spec.validation.openAPIV3Schema.properties[spec].properties[a].x-kubernetes-validations[0].rule: Invalid \
          value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within \
          spec.validation.openAPIV3Schema.properties[spec]"]
    );
}

#[test]
fn paths_of_warnings() {
    let told = |path: &str| {
        let warnings = json!({"typeChecking": {"expressionWarnings": [{"fieldRef": path, "warning": "w"}]}});
        let plural = "validatingadmissionpolicies";
        let (kind, object) = made("admissionregistration.k8s.io", "v1", plural, "/status", warnings);
        said(|errors| kind.validate_status_update(&object, &object, errors))
    };
    assert_eq!(told(" spec.validations[0].expression "), [""; 0]);
    let place = "status.typeChecking.expressionWarnings[0].fieldRef";
    assert_eq!(told(" "), [format!("{place}: Required value")]);
    let why = "invalid JSONPath: cannot parse number 1.2.3.4";
    assert_eq!(told("1.2.3.4"), [format!("{place}: Invalid value: \"1.2.3.4\": {why}")]);
}

#[test]
fn ports_of_the_host() {
    let port = |number: i64| {
        let spec = json!({"hostNetwork": true,
            "containers": [{"name": "c", "image": "registry.example/x:1", "ports": [{"containerPort": number}]}]});
        made("", "v1", "pods", "/spec", spec).1["spec"]["containers"][0]["ports"][0]["hostPort"].clone()
    };
    assert_eq!((port(80), port(0)), (json!(80), Value::Null));
}
