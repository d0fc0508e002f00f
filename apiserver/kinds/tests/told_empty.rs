//! Empty lists and maps that upstream tells from none: what is said of them, what counts as a change.

use api_codec::decode::{FieldValidation, conform};
use api_codec::default::apply_defaults;
use api_kinds::Kind;
use api_machinery::{ErrorList, Value, object};
use api_schema::Schema;
use serde_json::json;

/// A kind, and its sample with a part (`/spec/os`) put in, as a request has it.
struct Made {
    kind: &'static dyn Kind,
    object: Value,
}

fn made(group: &str, version: &str, plural: &str, parts: &[(&str, Value)]) -> Made {
    let schema = Schema::builtin();
    let resource = schema.resource(group, version, plural).expect("served");
    let kind = api_kinds::of(&resource.group_resource());
    let mut object = kind.sample();
    for (pointer, part) in parts {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("a parent")[field] = part.clone();
    }
    let type_id = resource.type_id.expect("a type");
    conform(schema, type_id, &mut object, Vec::new(), FieldValidation::Strict).expect("decoded");
    apply_defaults(schema, resource, &mut object);
    kind.default(&mut object);
    Made { kind, object }
}

impl Made {
    fn create(&self) -> Vec<String> {
        said(|errors| self.kind.validate(&self.object, errors))
    }

    fn update(mut self, mut old: Made) -> Vec<String> {
        for object in [&mut self.object, &mut old.object] {
            object::meta_mut(object).insert("resourceVersion".to_owned(), "1".into());
        }
        said(|errors| self.kind.validate_update(&self.object, &old.object, errors))
    }

    fn grows(&self, old: &Made) -> bool {
        self.kind.generation_grows(&self.object, &old.object)
    }
}

fn said(validate: impl FnOnce(&mut ErrorList)) -> Vec<String> {
    let mut errors = ErrorList::new();
    validate(&mut errors);
    errors.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

/// What is said of one thing only.
fn more(all: Vec<String>, others: &[String]) -> Vec<String> {
    all.into_iter().filter(|one| !others.contains(one)).collect()
}

#[test]
fn of_new_objects() {
    let windows = ("/spec/os", json!({"name": "windows"}));
    let pod = |parts: &[(&str, Value)]| made("", "v1", "pods", parts).create();
    let context = |context: Value| ("/spec/securityContext", context);
    assert_eq!(
        more(
            pod(&[windows.clone(), context(json!({"supplementalGroups": []}))]),
            &pod(&[windows.clone(), context(json!({}))])
        ),
        ["spec.securityContext.supplementalGroups: Forbidden: cannot be set for a windows pod"]
    );
    // Of these only what is in them counts.
    assert_eq!(pod(&[windows.clone(), context(json!({"sysctls": []}))]), pod(&[windows.clone(), context(json!({}))]));
    let resources = |resources: Value| pod(&[("/spec/resources", resources)]);
    assert_eq!(
        more(resources(json!({"claims": [], "limits": {"cpu": "1"}})), &resources(json!({"limits": {"cpu": "1"}}))),
        ["spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level"]
    );
    let slice = |parts: &[(&str, Value)]| made("resource.k8s.io", "v1", "resourceslices", parts).create();
    assert_eq!(
        more(slice(&[("/spec/sharedCounters", json!([]))]), &slice(&[])),
        [r#"spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed"#]
    );
    let device = |device: Value| slice(&[("/spec/devices", json!([device]))]);
    assert_eq!(
        more(
            device(json!({"name": "d", "attributes": {"a": {"bools": []}}})),
            &device(json!({"name": "d", "attributes": {"a": {"bool": true}}}))
        ),
        ["spec.devices[0].attributes[a].bools: Invalid value: []: must not be empty if specified"]
    );
    let binding = |wanted: Value| {
        device(json!({"name": "d", "bindingConditions": wanted, "bindingFailureConditions": ["example.com/failed"]}))
    };
    for (wanted, shown) in [(json!([]), "[]"), (json!(null), "null")] {
        let told = format!(
            "spec.devices[0].bindingConditions: Invalid value: {shown}: bindingConditions are required to use \
             bindingFailureConditions"
        );
        assert!(binding(wanted).contains(&told), "{told}");
    }
}

#[test]
fn of_changed_objects() {
    const IMMUTABLE: &str = "Forbidden: field is immutable when `immutable` is set";
    let immutable = ("/immutable", json!(true));
    let secret = |data: Value| made("", "v1", "secrets", &[immutable.clone(), ("/data", data)]);
    let map = |data: Value, binary: Value| {
        made("", "v1", "configmaps", &[immutable.clone(), ("/data", data), ("/binaryData", binary)])
    };
    assert_eq!(secret(json!({})).update(secret(json!(null))), [format!("data: {IMMUTABLE}")]);
    assert_eq!(secret(json!(null)).update(secret(json!(null))), [""; 0]);
    // An empty map is the default of one.
    assert_eq!(map(json!({}), json!(null)).update(map(json!(null), json!(null))), [""; 0]);
    let told = map(json!(null), json!({})).update(map(json!(null), json!(null)));
    assert_eq!(told, [format!("binaryData: {IMMUTABLE}")]);

    let class = |parameters: Value| made("storage.k8s.io", "v1", "storageclasses", &[("/parameters", parameters)]);
    let of_parameters = |shown: &str| [format!("parameters: Invalid value: {shown}: field is immutable")];
    assert_eq!(class(json!({})).update(class(json!({"a": "b"}))), of_parameters("{}"));
    assert_eq!(class(json!(null)).update(class(json!({"a": "b"}))), of_parameters("null"));
    assert_eq!(class(json!({})).update(class(json!(null))), [""; 0]);

    let ranges = |cidrs: Value| made("networking.k8s.io", "v1", "servicecidrs", &[("/spec/cidrs", cidrs)]);
    let told = ranges(json!([])).update(ranges(json!(["10.200.0.0/24"])));
    assert_eq!(told, ["spec.cidrs: Invalid value: []: field is immutable"]);

    let claim = |requests: Value| {
        let parts = [
            ("/spec/resources", json!({"requests": requests})),
            ("/spec/volumeName", json!("v")),
            ("/status", json!({"phase": "Bound"})),
        ];
        made("", "v1", "persistentvolumeclaims", &parts)
    };
    let is_changed = |requests: Value| {
        let told = claim(requests).update(claim(json!({"storage": "1Gi"})));
        told.iter().any(|one| one.starts_with("spec: Forbidden: spec is immutable"))
    };
    assert!(is_changed(json!(null)) && !is_changed(json!({})));
}

#[test]
fn of_ephemeral_containers() {
    let pod = |container: Value| {
        let mut made = made("", "v1", "pods", &[("/spec/ephemeralContainers", json!([container]))]);
        object::meta_mut(&mut made.object).insert("resourceVersion".to_owned(), "1".into());
        made
    };
    let told = |field: &str| {
        let mut container = json!({"name": "e", "image": "registry.example/x:1"});
        let plain = pod(container.clone());
        container[field] = json!([]);
        let made = pod(container);
        let validate = |made: &Made| said(|errors| made.kind.validate_ephemeral(&made.object, &plain.object, errors));
        more(validate(&made), &validate(&plain))
    };
    for field in ["ports", "resizePolicy", "restartPolicyRules"] {
        let forbidden =
            format!("spec.ephemeralContainers[0].{field}: Forbidden: cannot be set for an Ephemeral Container");
        assert_eq!(told(field).first(), Some(&forbidden));
    }
    assert_eq!(told("args"), [""; 0]);
}

#[test]
fn an_empty_allocatable_takes_the_place_of_capacity() {
    let node = |status: Value| made("", "v1", "nodes", &[("/status", status)]).object["status"]["allocatable"].clone();
    assert_eq!(node(json!({"capacity": {"cpu": "2"}})), json!({"cpu": "2"}));
    assert_eq!(node(json!({"capacity": {"cpu": "2"}, "allocatable": {}})), json!({}));
}

#[test]
fn changes_that_count() {
    const WEBHOOK: &str = "/webhooks/0";
    let hooks = |field: &str, value: Value| {
        let rules = ("/webhooks/0/rules", json!(null));
        let parts = [rules, ("/webhooks/0/clientConfig", json!({"url": "https://a.example"}))];
        let pointer = format!("{WEBHOOK}/{field}");
        let parts: Vec<(&str, Value)> = parts.into_iter().chain([(pointer.as_str(), value)]).collect();
        made("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", &parts)
    };
    for (field, empty) in [("rules", json!([])), ("matchConditions", json!([])), ("clientConfig/caBundle", json!(""))] {
        assert!(hooks(field, empty.clone()).grows(&hooks(field, json!(null))), "{field}");
        assert!(!hooks(field, json!(null)).grows(&hooks(field, json!(null))), "{field}");
    }
    let policy = |spec: Value| made("networking.k8s.io", "v1", "networkpolicies", &[("/spec", spec)]);
    let (closed, silent) = (json!({"podSelector": {}, "ingress": []}), json!({"podSelector": {}}));
    assert!(policy(closed).grows(&policy(silent.clone())) && !policy(silent.clone()).grows(&policy(silent)));
    // To these an empty list or map is as good as none.
    let slice =
        |counters: Value| made("resource.k8s.io", "v1", "resourceslices", &[("/spec/sharedCounters", counters)]);
    assert!(!slice(json!([])).grows(&slice(json!(null))));
    let deployment = |overhead: Value| {
        let pod = json!({"containers": [{"name": "c", "image": "i"}], "overhead": overhead});
        made("apps", "v1", "deployments", &[("/spec/template/spec", pod)])
    };
    assert!(!deployment(json!({})).grows(&deployment(json!(null))));
    assert!(!deployment(json!(null)).grows(&deployment(json!({}))));
    assert!(deployment(json!({"cpu": "1"})).grows(&deployment(json!({}))));
}
