//! The three patches, with the examples of upstream's documentation.

use api_codec::decode::FieldValidation;
use api_codec::patch::{MAX_JSON_PATCH_OPERATIONS, PatchKind, apply, read};
use api_machinery::Value;
use api_schema::Schema;
use serde_json::json;

fn patched(kind: PatchKind, name: &str, patch: Value, current: Value) -> Result<Value, (u16, String)> {
    let schema = Schema::builtin();
    let type_id = schema.type_named(name).expect(name);
    apply(schema, type_id, kind, &patch, &current).map_err(|error| (error.code, error.message))
}

#[test]
fn json_patch() {
    let current = || json!({"metadata": {"labels": {"a/b": "c"}}, "data": {"x": "1"}});
    let of = |patch: Value| patched(PatchKind::Json, "core.v1.ConfigMap", patch, current());
    assert_eq!(
        of(json!([
            {"op": "test", "path": "/metadata/labels/a~1b", "value": "c"},
            {"op": "replace", "path": "/data/x", "value": "2"},
            {"op": "add", "path": "/data/y", "value": "3"},
            {"op": "copy", "from": "/data/y", "path": "/data/z"},
            {"op": "remove", "path": "/metadata/labels"}
        ])),
        Ok(json!({"metadata": {}, "data": {"x": "2", "y": "3", "z": "3"}}))
    );
    let does_not_apply = "the server rejected our request due to an error in our request".to_owned();
    for patch in [
        json!([{"op": "test", "path": "/data/x", "value": "9"}]),
        json!([{"op": "remove", "path": "/data/none"}]),
        json!([{"op": "frobnicate", "path": "/data"}]),
    ] {
        assert_eq!(of(patch.clone()), Err((422, does_not_apply.clone())), "{patch}");
    }
    let object = of(json!({"op": "add"}));
    assert_eq!(object, Err((400, "json: cannot unmarshal object into Go value of type jsonpatch.Patch".to_owned())));
    let many = vec![json!({"op": "test", "path": "/data/x", "value": "1"}); MAX_JSON_PATCH_OPERATIONS + 1];
    assert_eq!(of(Value::Array(many)).expect_err("too many").0, 413);
    // Doubling by copying ends at the limit instead of in memory.
    let double = |n: usize| json!({"op": "copy", "from": "/data", "path": format!("/data/copy{n}")});
    assert_eq!(of((0..60).map(double).collect()), Err((422, does_not_apply.clone())));
    // So does nesting.
    let nest = json!({"op": "copy", "from": "/data", "path": "/data/more"});
    assert_eq!(of(Value::Array(vec![nest; 9000])), Err((422, does_not_apply)));
}

/// Field validation has another decoder look at a patch first, which has words of its own.
#[test]
fn what_is_no_patch() {
    use PatchKind::{Json, Merge, Strategic};
    let literal = "invalid character 'o' in literal null (expecting 'u')";
    let map = "Go value of type map[string]interface {}";
    let text = |found: &str, place: &str| format!("json: cannot unmarshal {found} into {place}");
    for (kind, patch, strict, ignoring) in [
        (Json, "not json", literal.to_owned(), literal.to_owned()),
        (Json, "", "unexpected end of JSON input".to_owned(), "unexpected end of JSON input".to_owned()),
        (
            Json,
            "{}",
            text("object", "Go value of type []handlers.jsonPatchOp"),
            text("object", "Go value of type jsonpatch.Patch"),
        ),
        (
            Json,
            "[null,5]",
            text("number", "Go value of type handlers.jsonPatchOp"),
            text("number", "Go value of type jsonpatch.Operation"),
        ),
        (
            Json,
            r#"[{"op":"add","path":7}]"#,
            text("number", "Go struct field jsonPatchOp.path of type string"),
            String::new(),
        ),
        (Json, "null", String::new(), String::new()),
        (Merge, "not json", literal.to_owned(), "Invalid JSON Patch".to_owned()),
        (Merge, "[]", text("array", map), "Invalid JSON Patch".to_owned()),
        (Merge, "null", String::new(), String::new()),
        (Strategic, "not json", literal.to_owned(), literal.to_owned()),
        (Strategic, "\"x\"", text("string", map), text("string", map)),
        (Strategic, "null", String::new(), String::new()),
    ] {
        let of =
            |validation| read(kind, patch.as_bytes(), validation).map_or_else(|error| error.message, |_| String::new());
        let prefix = if kind == Strategic || strict.is_empty() { "" } else { "error decoding patch: " };
        assert_eq!(of(FieldValidation::Strict), format!("{prefix}{strict}"), "{kind:?} {patch}");
        assert_eq!(of(FieldValidation::Ignore), ignoring, "{kind:?} {patch}");
    }
    let null = |kind| patched(kind, "core.v1.ConfigMap", Value::Null, json!({"data": {}}));
    assert_eq!((null(Json), null(Strategic)), (Ok(json!({"data": {}})), Ok(json!({"data": {}}))));
    assert_eq!(null(Merge), Err((400, "Invalid JSON Patch".to_owned())));
}

#[test]
fn merge_patch() {
    let current = json!({"data": {"a": "1", "b": "2"}, "list": [1, 2]});
    let patch = json!({"data": {"a": null, "c": "3"}, "list": [3]});
    let merged = patched(PatchKind::Merge, "core.v1.ConfigMap", patch, current.clone());
    assert_eq!(merged, Ok(json!({"data": {"b": "2", "c": "3"}, "list": [3]})));
    assert_eq!(patched(PatchKind::Merge, "core.v1.ConfigMap", json!([]), current).expect_err("a list").0, 400);
}

#[test]
fn strategic_merge_patch() {
    let names = |names: &[&str]| Value::Array(names.iter().map(|name| json!({"name": name})).collect());
    type Case = (&'static str, &'static str, Value, Value, Result<Value, &'static str>);
    let table: Vec<Case> = vec![
        (
            "lists with a merge key merge, others are replaced",
            "core.v1.PodSpec",
            json!({"containers": [{"name": "a", "image": "x", "args": ["1"]}], "tolerations": [{"key": "a"}]}),
            json!({"containers": [{"name": "b", "image": "y"}, {"name": "a", "args": ["2"]}], "tolerations": [{"key": "b"}]}),
            Ok(
                json!({"containers": [{"name": "b", "image": "y"}, {"name": "a", "image": "x", "args": ["2"]}], "tolerations": [{"key": "b"}]}),
            ),
        ),
        (
            "a null removes, and is nothing where there is nothing",
            "core.v1.PodSpec",
            json!({"nodeName": "a", "nodeSelector": {"x": "1", "y": "2"}}),
            json!({"nodeName": null, "hostname": null, "nodeSelector": {"x": null, "z": "3"}, "affinity": {"podAffinity": null}}),
            Ok(json!({"nodeSelector": {"y": "2", "z": "3"}, "affinity": {}})),
        ),
        (
            "$patch: delete takes an element out",
            "core.v1.PodSpec",
            json!({"containers": names(&["a", "b", "c"])}),
            json!({"containers": [{"name": "b", "$patch": "delete"}]}),
            Ok(json!({"containers": names(&["a", "c"])})),
        ),
        (
            "$patch: replace in a list replaces it",
            "core.v1.PodSpec",
            json!({"containers": names(&["a", "b"])}),
            json!({"containers": [{"name": "c"}, {"$patch": "replace"}]}),
            Ok(json!({"containers": names(&["c"])})),
        ),
        (
            "$patch: replace in a map replaces it",
            "core.v1.PodSpec",
            json!({"securityContext": {"runAsUser": 1, "runAsGroup": 2}}),
            json!({"securityContext": {"$patch": "replace", "fsGroup": 3}}),
            Ok(json!({"securityContext": {"fsGroup": 3}})),
        ),
        (
            "$patch: delete of a map empties it",
            "core.v1.PodSpec",
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"$patch": "delete"}}),
            Ok(json!({"securityContext": {}})),
        ),
        (
            "directives in new values do not stay",
            "core.v1.PodSpec",
            json!({}),
            json!({"containers": [{"name": "a"}, {"name": "b", "$patch": "delete"}], "dnsConfig": {"$patch": "replace", "searches": ["a"]}, "volumes": [{"name": "v", "$retainKeys": ["name"], "emptyDir": {"medium": null}}]}),
            Ok(json!({"containers": [{"name": "a"}], "volumes": [{"name": "v", "emptyDir": {}}]})),
        ),
        (
            "$retainKeys drops what it does not name",
            "apps.v1.DeploymentSpec",
            json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            Ok(json!({"strategy": {"type": "Recreate"}})),
        ),
        (
            "$retainKeys inside a list element",
            "core.v1.PodSpec",
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/a"}}]}),
            Ok(json!({"volumes": [{"name": "v", "hostPath": {"path": "/a"}}]})),
        ),
        (
            "$retainKeys must name what the patch sets",
            "apps.v1.DeploymentSpec",
            json!({"strategy": {"type": "Recreate"}}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "RollingUpdate", "rollingUpdate": {}}}),
            Err("invalid patch format of retainKeys"),
        ),
        (
            "$setElementOrder orders what it names",
            "core.v1.PodSpec",
            json!({"containers": names(&["a", "b", "c"])}),
            json!({"$setElementOrder/containers": names(&["c", "new", "a"]), "containers": [{"name": "new"}]}),
            Ok(json!({"containers": names(&["b", "c", "new", "a"])})),
        ),
        (
            "$setElementOrder alone reorders",
            "core.v1.PodSpec",
            json!({"containers": names(&["a", "b"])}),
            json!({"$setElementOrder/containers": names(&["b", "a"])}),
            Ok(json!({"containers": names(&["b", "a"])})),
        ),
        (
            "$setElementOrder with a deletion",
            "core.v1.PodSpec",
            json!({"containers": names(&["a", "b", "c"])}),
            json!({"$setElementOrder/containers": names(&["c", "a"]), "containers": [{"name": "b", "$patch": "delete"}]}),
            Ok(json!({"containers": names(&["c", "a"])})),
        ),
        (
            "the patch list follows $setElementOrder",
            "core.v1.PodSpec",
            json!({"containers": names(&["a", "b"])}),
            json!({"$setElementOrder/containers": names(&["a"]), "containers": names(&["b"])}),
            Err("The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n"),
        ),
        (
            "primitive lists with strategy merge grow, without repeats",
            "meta.v1.ObjectMeta",
            json!({"finalizers": ["a", "b"]}),
            json!({"finalizers": ["c", "a"]}),
            Ok(json!({"finalizers": ["c", "a", "b"]})),
        ),
        (
            "$deleteFromPrimitiveList",
            "meta.v1.ObjectMeta",
            json!({"finalizers": ["a", "b", "c"]}),
            json!({"$deleteFromPrimitiveList/finalizers": ["b", "x"], "$setElementOrder/finalizers": ["c", "a"]}),
            Ok(json!({"finalizers": ["c", "a"]})),
        ),
        (
            "nested merge keys",
            "apps.v1.Deployment",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}], "env": [{"name": "X", "value": "1"}]}]}}}}),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}], "env": [{"name": "X", "value": "2"}]}]}}}}),
            Ok(
                json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "web"}, {"containerPort": 81}], "env": [{"name": "X", "value": "2"}]}]}}}}),
            ),
        ),
        (
            "a field whose strategy is replace is replaced",
            "policy.v1.PodDisruptionBudgetSpec",
            json!({"selector": {"matchLabels": {"a": "b"}}}),
            json!({"selector": {"matchExpressions": []}}),
            Ok(json!({"selector": {"matchExpressions": []}})),
        ),
        (
            "conditions merge by type",
            "core.v1.PodStatus",
            json!({"conditions": [{"type": "Ready", "status": "False", "reason": "x"}, {"type": "Initialized", "status": "True"}]}),
            json!({"conditions": [{"type": "Ready", "status": "True", "reason": null}]}),
            Ok(json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]})),
        ),
        (
            "an element without its key",
            "core.v1.PodSpec",
            json!({"containers": names(&["a"])}),
            json!({"containers": [{"image": "x"}]}),
            Err("map: map[image:x] does not contain declared merge key: name"),
        ),
        (
            "an unknown directive",
            "core.v1.PodSpec",
            json!({"containers": names(&["a"])}),
            json!({"containers": [{"name": "a", "$patch": "burn"}]}),
            Err("unknown patch type: burn in map: map[$patch:burn name:a]"),
        ),
    ];
    for (what, name, current, patch, expect) in table {
        let result = patched(PatchKind::Strategic, name, patch, current).map_err(|(code, message)| {
            assert_eq!(code, 400, "{what}");
            message
        });
        assert_eq!(result.as_ref().map_err(String::as_str), expect.as_ref().map_err(|text| *text), "{what}");
    }
}

/// Nothing may look through one list for every element of another: bodies hold hundreds of thousands.
#[test]
fn long_lists_are_merged_in_linear_time() {
    const ELEMENTS: usize = 50_000;
    let began = std::time::Instant::now();
    let list = |from: usize, of: &dyn Fn(usize) -> Value| -> Value { (from..from + ELEMENTS).map(of).collect() };
    let named = |n: usize| json!({"name": format!("c{n}"), "image": "i"});
    let name_only = |n: usize| json!({"name": format!("c{n}")});
    let gone = |n: usize| json!({"name": format!("c{n}"), "$patch": "delete"});
    let text = |n: usize| Value::from(format!("example.org/{n}"));
    for (name, current, patch, length) in [
        (
            "core.v1.PodSpec",
            json!({"containers": list(0, &named)}),
            json!({"containers": list(10, &named)}),
            ELEMENTS + 10,
        ),
        (
            "core.v1.PodSpec",
            json!({"containers": list(0, &named)}),
            json!({"containers": [{"name": "c1", "image": "j"}], "$setElementOrder/containers": list(0, &name_only)}),
            ELEMENTS,
        ),
        ("core.v1.PodSpec", json!({"containers": list(0, &named)}), json!({"containers": list(10, &gone)}), 10),
        (
            "meta.v1.ObjectMeta",
            json!({"finalizers": list(0, &text)}),
            json!({"finalizers": list(10, &text)}),
            ELEMENTS + 10,
        ),
        (
            "meta.v1.ObjectMeta",
            json!({"finalizers": list(0, &text)}),
            json!({"$deleteFromPrimitiveList/finalizers": list(10, &text)}),
            10,
        ),
    ] {
        let patched = patched(PatchKind::Strategic, name, patch, current).expect("applies");
        let (field, list) = patched.as_object().and_then(|map| map.iter().next()).expect("a list");
        assert_eq!(list.as_array().map(Vec::len), Some(length), "{field}");
    }
    // Many times what it takes; a look at every pair takes minutes.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

/// What a patch makes can be read again: one level more could not.
#[test]
fn json_patches_end_where_reading_ends() {
    let current = json!({"data": {}});
    for (levels, applies) in [(125, true), (126, false)] {
        let nested = (0..levels).fold(Value::from(1), |inner, _| json!([inner]));
        let patch = json!([{"op": "add", "path": "/data/x", "value": nested}]);
        let outcome = patched(PatchKind::Json, "core.v1.ConfigMap", patch, current.clone());
        assert_eq!(outcome.is_ok(), applies, "{levels}");
        if let Ok(value) = outcome {
            assert!(serde_json::from_str::<Value>(&value.to_string()).is_ok(), "{levels}");
        }
    }
}
