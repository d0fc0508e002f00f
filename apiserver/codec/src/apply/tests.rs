//! What happens to objects and managers, one story a test.

use api_machinery::Value;
use api_schema::Schema;
use serde_json::json;

use super::ownership::{Failure, Manager, Ownership, Versions};
use super::set::FieldSet;

struct OneVersion;
impl Versions for OneVersion {
    fn convert(&self, _: &Value, _: &str) -> Option<Value> {
        None
    }
}

const NOW: &str = "2026-01-02T03:04:05Z";

/// An object of a kind, and everybody who writes it.
struct Story {
    api_version: &'static str,
    kind: &'static str,
    reset: FieldSet,
    object: Value,
}

impl Story {
    fn new(api_version: &'static str, kind: &'static str) -> Self {
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}});
        Self { api_version, kind, reset: FieldSet::of_fields(["status"]), object }
    }

    fn ownership(&self) -> Ownership<'_> {
        let (api_version, kind) = (self.api_version, self.kind);
        let schema = Schema::builtin();
        Ownership { schema, versions: &OneVersion, api_version, kind, reset: &self.reset, now: NOW }
    }

    fn with(&self, fields: Value) -> Value {
        let mut object = json!({"apiVersion": self.api_version, "kind": self.kind, "metadata": {"name": "x"}});
        for (name, value) in fields.as_object().expect("fields") {
            match name.as_str() {
                "metadata" => {
                    let meta = object["metadata"].as_object_mut().expect("metadata");
                    meta.extend(value.as_object().expect("metadata").clone());
                }
                _ => object[name] = value.clone(),
            }
        }
        object
    }

    fn apply(&mut self, manager: &str, fields: Value, force: bool) -> Result<(), Failure> {
        let config = self.with(fields);
        let manager = Manager { name: manager, subresource: "" };
        self.object = self.ownership().apply(Some(&self.object), &config, manager, force)?;
        Ok(())
    }

    fn refused(&mut self, manager: &str, fields: Value) -> String {
        match self.apply(manager, fields, false) {
            Err(failure) => failure.to_error().message,
            Ok(()) => panic!("{manager} was not refused: {}", self.object),
        }
    }

    fn update(&mut self, manager: &str, change: impl FnOnce(&mut Value)) {
        let mut new = self.object.clone();
        change(&mut new);
        self.ownership().update(Some(&self.object), &mut new, Manager { name: manager, subresource: "" });
        self.object = new;
    }

    /// `fieldsV1` of a manager.
    fn owns(&self, manager: &str) -> Value {
        let entries = self.object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.iter().find(|entry| entry["manager"] == manager).map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }

    fn at(&self, pointer: &str) -> Value {
        self.object.pointer(pointer).cloned().unwrap_or(Value::Null)
    }
}

fn container(name: &str, image: &str) -> Value {
    json!({"name": name, "image": image})
}

fn template(containers: Vec<Value>) -> Value {
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}

#[test]
fn an_apply_owns_what_it_states() {
    let mut story = Story::new("apps/v1", "Deployment");
    let mut fields = template(vec![container("web", "a:1")]);
    fields["spec"]["replicas"] = json!(2);
    story.apply("one", fields, false).expect("applied");
    assert_eq!(
        story.object["metadata"]["managedFields"],
        json!([{
            "manager": "one", "operation": "Apply", "apiVersion": "apps/v1", "time": NOW, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
                "k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}},
        }])
    );
}

#[test]
fn another_value_is_a_conflict_unless_forced() {
    let mut story = Story::new("apps/v1", "Deployment");
    story.apply("one", json!({"spec": {"replicas": 2}}), false).expect("applied");
    story.apply("same", json!({"spec": {"replicas": 2}}), false).expect("both may state the same");
    let refused = story.refused("two", json!({"spec": {"replicas": 3}}));
    assert_eq!(
        refused,
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.replicas\nconflicts with \"same\":\n- .spec.replicas"
    );
    assert_eq!(story.at("/spec/replicas"), 2);
    story.apply("two", json!({"spec": {"replicas": 3}}), true).expect("forced");
    assert_eq!(story.at("/spec/replicas"), 3);
    assert_eq!((story.owns("one"), story.owns("same")), (Value::Null, Value::Null));
    let refused = story.refused("one", json!({"spec": {"replicas": 2}}));
    assert_eq!(refused, "Apply failed with 1 conflict: conflict with \"two\": .spec.replicas");
}

#[test]
fn the_error_has_a_cause_for_each_field() {
    let mut story = Story::new("v1", "ConfigMap");
    story.update("edit", |object| object["data"] = json!({"a": "1", "b": "2"}));
    let Err(failure) = story.apply("me", json!({"data": {"a": "9", "b": "9"}}), false) else { panic!("conflicts") };
    let status = failure.to_error().to_status();
    assert_eq!((status["code"].clone(), status["reason"].clone()), (json!(409), json!("Conflict")));
    assert_eq!(
        status["details"]["causes"],
        json!([
            {"reason": "FieldManagerConflict", "message": "conflict with \"edit\" using v1", "field": ".data.a"},
            {"reason": "FieldManagerConflict", "message": "conflict with \"edit\" using v1", "field": ".data.b"},
        ])
    );
}

#[test]
fn what_is_stated_no_longer_goes_unless_somebody_else_manages_it() {
    let mut story = Story::new("v1", "ConfigMap");
    story.apply("one", json!({"data": {"a": "1", "b": "2", "c": "3"}}), false).expect("applied");
    story.apply("two", json!({"data": {"b": "2"}}), false).expect("shared");
    story.update("edit", |object| object["data"]["d"] = json!("4"));
    story.apply("one", json!({"data": {"a": "1"}}), false).expect("applied again");
    assert_eq!(story.at("/data"), json!({"a": "1", "b": "2", "d": "4"}));
    story.apply("one", json!({}), false).expect("nothing");
    assert_eq!(story.at("/data"), json!({"b": "2", "d": "4"}));
    assert_eq!(story.owns("one"), Value::Null);
}

#[test]
fn elements_of_lists_are_managed_apart() {
    let mut story = Story::new("apps/v1", "Deployment");
    story.apply("one", template(vec![container("web", "a:1"), container("log", "l:1")]), false).expect("applied");
    let sidecar = template(vec![container("mesh", "m:1")]);
    story.apply("two", sidecar, false).expect("another element");
    let names = |story: &Story| -> Vec<String> {
        let containers = story.at("/spec/template/spec/containers");
        containers.as_array().expect("a list").iter().map(|one| one["name"].as_str().expect("a name").into()).collect()
    };
    assert_eq!(names(&story), ["web", "log", "mesh"]);
    let refused = story.refused("two", template(vec![container("mesh", "m:1"), container("web", "b:2")]));
    assert_eq!(
        refused,
        "Apply failed with 1 conflict: conflict with \"one\": .spec.template.spec.containers[name=\"web\"].image"
    );
    story.apply("one", template(vec![container("log", "l:2"), container("new", "n:1")]), false).expect("reordered");
    assert_eq!(names(&story), ["log", "mesh", "new"], "what only the live list has keeps its place");
}

#[test]
fn keys_have_defaults() {
    let mut story = Story::new("v1", "Service");
    let port = |more: Value| {
        let mut port = json!({"port": 80});
        port.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        json!({"spec": {"ports": [port]}})
    };
    story.apply("one", port(json!({"name": "a"})), false).expect("applied");
    story.object["spec"]["ports"][0]["protocol"] = json!("TCP");
    story.apply("one", port(json!({"name": "b"})), false).expect("the same port");
    assert_eq!(story.at("/spec/ports"), json!([{"port": 80, "name": "b", "protocol": "TCP"}]));
    let owned = story.owns("one");
    assert!(owned["f:spec"]["f:ports"].get("k:{\"port\":80,\"protocol\":\"TCP\"}").is_some(), "{owned}");
}

#[test]
fn sets_are_managed_by_value_and_atomic_lists_as_one() {
    let mut story = Story::new("v1", "Pod");
    story.apply("one", json!({"metadata": {"finalizers": ["a/x", "b/x"]}}), false).expect("applied");
    story.apply("two", json!({"metadata": {"finalizers": ["c/x", "b/x"]}}), false).expect("more");
    story.apply("one", json!({"metadata": {"finalizers": ["a/x"]}}), false).expect("fewer");
    let mut left: Vec<String> = serde_json::from_value(story.at("/metadata/finalizers")).expect("a list");
    left.sort();
    assert_eq!(left, ["a/x", "b/x", "c/x"]);
    let command = |words: &[&str]| json!({"spec": {"containers": [{"name": "c", "command": words}]}});
    story.apply("one", command(&["a"]), false).expect("applied");
    let refused = story.refused("two", command(&["a", "b"]));
    assert!(refused.ends_with("conflict with \"one\": .spec.containers[name=\"c\"].command"), "{refused}");
}

#[test]
fn elements_with_one_key_twice_are_refused() {
    let mut story = Story::new("apps/v1", "Deployment");
    let refused = story.refused("one", template(vec![container("web", "a:1"), container("web", "b:1")]));
    assert!(refused.contains(".spec.template.spec.containers: duplicate entries for key [name=\"web\"]"), "{refused}");
    let refused = story.refused("one", template(vec![Value::Null]));
    assert!(refused.contains("element 0: associative list with keys may not have a null element"), "{refused}");
    let refused = story.refused("one", json!({"metadata": {"ownerReferences": [{"uid": "a"}, {"uid": "a"}]}}));
    assert!(refused.contains("duplicate entries for key [uid=\"a\"]"), "{refused}");
}

#[test]
fn an_update_owns_what_it_changes_and_takes_it_from_others() {
    let mut story = Story::new("v1", "ConfigMap");
    story.apply("one", json!({"data": {"a": "1", "b": "2"}}), false).expect("applied");
    story.update("edit", |object| object["data"]["a"] = json!("9"));
    assert_eq!(story.owns("one"), json!({"f:data": {"f:b": {}}}));
    assert_eq!(story.owns("edit"), json!({"f:data": {"f:a": {}}}));
    story.update("other", |object| drop(object["data"].as_object_mut().expect("a map").remove("a")));
    assert_eq!((story.owns("edit"), story.owns("other")), (Value::Null, Value::Null), "nobody owns what is not there");
}

#[test]
fn an_update_without_a_change_leaves_everything() {
    let mut story = Story::new("v1", "ConfigMap");
    story.update("edit", |object| object["data"] = json!({"a": "1"}));
    story.object["metadata"]["managedFields"][0]["time"] = json!("2020-01-01T00:00:00Z");
    let before = story.object.clone();
    story.update("edit", |_| {});
    assert_eq!(story.object, before);
    story.update("who-knows-nothing", |object| {
        drop(object["metadata"].as_object_mut().map(|m| m.remove("managedFields")))
    });
    assert_eq!(story.object, before);
}

#[test]
fn status_is_not_owned_through_the_object() {
    let mut story = Story::new("apps/v1", "Deployment");
    story.update("edit", |object| {
        object["status"] = json!({"replicas": 3});
        object["spec"] = json!({"replicas": 3});
    });
    assert_eq!(story.owns("edit"), json!({"f:spec": {".": {}, "f:replicas": {}}}));
    story.apply("one", json!({"status": {"replicas": 3}}), false).expect("ignored");
    assert_eq!(story.owns("one"), Value::Null);
}

#[test]
fn managers_can_be_reset_by_hand() {
    for sent in [json!([{}]), json!([])] {
        let mut story = Story::new("v1", "ConfigMap");
        story.apply("one", json!({"data": {"a": "1"}}), false).expect("applied");
        story.update("edit", |object| object["metadata"]["managedFields"] = sent);
        assert_eq!(story.object["metadata"].get("managedFields"), None);
    }
    let mut story = Story::new("v1", "ConfigMap");
    let Err(failure) = story.apply("one", json!({"metadata": {"managedFields": []}}), false) else { panic!("refused") };
    assert_eq!(failure.to_error().message, "metadata.managedFields must be nil");
}

#[test]
fn the_oldest_updaters_are_put_together() {
    let mut story = Story::new("v1", "ConfigMap");
    story.update("writer-00", |object| object["data"] = json!({"k0": "v"}));
    for number in 1..15 {
        story.update(&format!("writer-{number:02}"), |object| object["data"][format!("k{number}")] = json!("v"));
    }
    let entries = story.object["metadata"]["managedFields"].as_array().expect("a list").clone();
    assert_eq!(entries.len(), super::MAX_UPDATE_MANAGERS);
    let ancient = story.owns("ancient-changes");
    assert!(ancient["f:data"].get("f:k0").is_some(), "{ancient}");
    assert!(story.owns("writer-14")["f:data"].get("f:k14").is_some());
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let mut story = Story::new("v1", "ConfigMap");
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}});
    story.update("kubectl-client-side-apply", |object| {
        object["data"] = json!({"a": "1"});
        object["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/last-applied-configuration": last.to_string()});
    });
    let refused = story.refused("other", json!({"data": {"a": "2"}}));
    assert!(refused.contains("conflict with \"kubectl-client-side-apply\" using v1: .data.a"), "{refused}");
    story.apply("kubectl", json!({"data": {"a": "2"}}), false).expect("its own");
    assert_eq!(story.at("/data/a"), "2");
    story.update("edit", |object| object["data"]["a"] = json!("3"));
    let refused = story.refused("kubectl", json!({"data": {"a": "4"}}));
    assert!(refused.contains("conflict with \"edit\" using v1: .data.a"), "{refused}");
}

#[test]
fn what_was_there_before_the_first_apply_belongs_to_one_manager() {
    let mut story = Story::new("v1", "ConfigMap");
    story.object = story.with(json!({"metadata": {"uid": "u", "labels": {"a": "b"}}, "data": {"a": "1"}}));
    story.update("edit", |object| object["data"]["b"] = json!("2"));
    assert_eq!(story.object["metadata"].get("managedFields"), None, "nobody is noted before");
    let refused = story.refused("one", json!({"data": {"a": "2"}}));
    assert_eq!(refused, "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a");
    story.apply("one", json!({"data": {"c": "3"}}), false).expect("applied");
    assert_eq!(
        story.owns("before-first-apply"),
        json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}, "f:metadata": {"f:labels": {".": {}, "f:a": {}}}})
    );
}

#[test]
fn a_new_object_is_compared_with_what_go_makes() {
    let story = Story::new("v1", "Pod");
    let mut pod = story.with(json!({"spec": {"containers": [container("c", "i")]}, "status": {}}));
    story.ownership().update(None, &mut pod, Manager { name: "", subresource: "" });
    assert_eq!(
        pod["metadata"]["managedFields"],
        json!([{
            "manager": "unknown", "operation": "Update", "apiVersion": "v1", "time": NOW, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:containers": {
                "k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}}},
        }])
    );
}

#[test]
fn nulls_of_others_stay() {
    let mut story = Story::new("v1", "Pod");
    let condition = json!({"type": "Ready", "status": "True", "lastProbeTime": null});
    story.update("kubelet", |object| object["status"] = json!({"conditions": [condition]}));
    story.reset = FieldSet::default();
    let before = story.owns("kubelet");
    story.apply("one", json!({"metadata": {"labels": {"a": "1", "b": "2"}}}), false).expect("applied");
    story.apply("one", json!({"metadata": {"labels": {"a": "1"}}}), false).expect("fewer");
    assert_eq!(story.at("/status/conditions/0"), condition);
    assert_eq!(story.owns("kubelet"), before);
}

#[test]
fn null_takes_the_place_of_what_is_empty() {
    let mut story = Story::new("v1", "Pod");
    story.update("kubelet", |object| object["spec"] = json!({"securityContext": {}}));
    let context = |context: Value| json!({"spec": {"securityContext": context}});
    let told = r#"Apply failed with 1 conflict: conflict with "kubelet" using v1: .spec.securityContext"#;
    assert_eq!(story.refused("one", context(Value::Null)), told);
    story.update("kubelet", |object| object["spec"] = json!({"securityContext": {"runAsUser": 1}}));
    story.apply("one", context(Value::Null), false).expect("what is in it is not what is stated");
    assert_eq!(story.at("/spec/securityContext"), json!({"runAsUser": 1}));
}

#[test]
fn types_without_fields_may_have_any() {
    let mut story = Story::new("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let with = |status: Value| json!({"spec": {"versions": [{"name": "v1", "subresources": {"status": status}}]}});
    story.apply("one", with(json!({"a": 1})), false).expect("taken for a field");
    let refused = story.refused("one", with(json!("x")));
    assert!(refused.contains(".spec.versions[0].subresources.status: expected map, got &{x}"), "{refused}");
}

/// Every set of a few paths against every other, by the algebra and on what is written.
#[test]
fn written_fields_answer_as_sets_do() {
    const PATHS: [&str; 5] = ["a", "a.b", "a.b.c", "a.d", "e"];
    let sets: Vec<FieldSet> = (0..1_u32 << PATHS.len())
        .map(|bits| {
            FieldSet::of_fields(PATHS.into_iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, path)| path))
        })
        .collect();
    for (one, other) in sets.iter().flat_map(|one| sets.iter().map(move |other| (one, other))) {
        let written = other.encode();
        assert_eq!(one.meets(&written), !one.intersection(other).is_empty(), "{one:?} {other:?}");
        assert_eq!(one.is_within(&written), one.difference(other).is_empty(), "{one:?} {other:?}");
        let mut both = one.clone();
        both.absorb(other.clone());
        assert_eq!(both, one.union(other));
    }
}

#[test]
fn replicas_are_managed_through_a_scale() {
    use super::Replicas;
    let entry = |name: &str, version: &str, subresource: &str, fields: Value| {
        let mut entry = json!({"manager": name, "operation": "Update", "apiVersion": version, "time": NOW,
            "fieldsType": "FieldsV1", "fieldsV1": fields});
        if !subresource.is_empty() {
            entry["subresource"] = subresource.into();
        }
        entry
    };
    let replicas = Replicas { path: "spec.replicas", api_version: "apps/v1" };
    let own = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
    let mut object = json!({"metadata": {"managedFields": [entry("one", "apps/v1", "", own.clone()),
        entry("two", "apps/v1", "", json!({"f:spec": {"f:paused": {}}}))]}});
    let mut scale = json!({"metadata": {}});
    replicas.to_scale(&object, &mut scale);
    let of_scale = json!({"f:spec": {"f:replicas": {}}});
    assert_eq!(scale["metadata"]["managedFields"], json!([entry("one", "autoscaling/v1", "", of_scale.clone())]));
    let unchanged = object.clone();
    replicas.to_object(&scale, &mut object);
    assert_eq!(object, unchanged);
    scale["metadata"]["managedFields"] = json!([entry("three", "autoscaling/v1", "scale", of_scale.clone())]);
    replicas.to_object(&scale, &mut object);
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([
            entry("one", "apps/v1", "", json!({"f:spec": {"f:paused": {}}})),
            entry("three", "apps/v1", "scale", of_scale),
            entry("two", "apps/v1", "", json!({"f:spec": {"f:paused": {}}})),
        ])
    );
}

#[test]
fn field_sets_are_written_as_upstream_writes_them() {
    let text = r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}},"v:\"x\"":{},"i:3":{}}}}"#;
    let fields: Value = serde_json::from_str(text).expect("JSON");
    let set = FieldSet::decode(&fields).expect("a set");
    assert_eq!(set.encode(), fields);
    assert_eq!(
        set.paths(),
        [
            ".metadata.labels",
            ".metadata.labels.app",
            ".spec.ports",
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[=\"x\"]",
            ".spec.ports[3]",
            ".spec.ports[port=80,protocol=\"TCP\"].port",
        ]
    );
    for bad in [json!({"x": {}}), json!({"f:a": 1}), json!({"k:{": {}}), json!([])] {
        assert_eq!(FieldSet::decode(&bad), None, "{bad}");
    }
}
