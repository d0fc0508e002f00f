//! The facts hang together: every file is read, every name resolves, and known truths hold.

use api_machinery::{GroupResource, GroupVersionKind};
use api_schema::{Holder, ListType, Schema, Shape, facts};

#[test]
fn every_type_file_is_compiled_in() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/facts/types");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("facts/types")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().trim_end_matches(".tsv").to_owned())
        .collect();
    files.sort();
    let listed: Vec<&str> = facts::TYPES.iter().map(|(package, _)| *package).collect();
    assert_eq!(files, listed);
}

#[test]
fn counts() {
    let schema = Schema::builtin();
    let subresources: usize = schema.resources().iter().map(|one| one.subresources.len()).sum();
    assert_eq!((schema.resources().len(), subresources), (68, 45));
    assert_eq!((schema.groups().len(), schema.types().count()), (21, 813));
    assert_eq!(schema.groups()[0].name, "");
    let autoscaling = schema.groups().iter().find(|group| group.name == "autoscaling").expect("autoscaling");
    assert_eq!(autoscaling.versions, ["v2", "v1"]);
}

#[test]
fn resources_have_types_selectors_and_strategies() {
    let schema = Schema::builtin();
    for one in schema.resources() {
        let what = format!("{}/{}", one.gv, one.plural);
        assert!(one.type_id.is_some(), "{what} has no type");
        for sub in &one.subresources {
            assert!(sub.type_id.is_some(), "{what}/{} has no type {:?}", sub.name, sub.gvk);
        }
        let resource = one.group_resource();
        if one.has_verb("list") {
            assert_eq!(schema.selectable_fields(&resource)[0], "metadata.name", "{what}");
            assert!(schema.print_columns(&resource).is_some_and(|columns| columns[0].priority == 0), "{what}");
        }
        assert_eq!(one.has_verb("update"), schema.strategy(&resource).is_some(), "{what}");
        assert!(schema.groups().iter().any(|group| *group.name == *one.gv.group), "{what}");
    }
}

#[test]
fn known_truths() {
    let schema = Schema::builtin();
    let deployments = schema.resource("apps", "v1", "deployments").expect("deployments");
    assert_eq!(deployments.short_names, ["deploy"]);
    assert_eq!(deployments.categories, ["all"]);
    let scale = deployments.subresource("scale").expect("scale");
    assert_eq!((&*scale.gvk.group, &*scale.gvk.version, &*scale.gvk.kind), ("autoscaling", "v1", "Scale"));
    let events = schema.resource("events.k8s.io", "v1", "events").expect("events");
    assert_eq!(events.storage, GroupResource::new("", "events"));
    assert_eq!(events.storage_gv.to_string(), "v1");
    let scalers = schema.resource("autoscaling", "v1", "horizontalpodautoscalers").expect("autoscalers");
    assert_eq!(scalers.storage_gv.to_string(), "autoscaling/v2");
    let definitions = schema.resource("apiextensions.k8s.io", "v1", "customresourcedefinitions").expect("CRDs");
    assert_eq!(definitions.storage_gv.to_string(), "apiextensions.k8s.io/v1beta1");
    assert_eq!(definitions.hub_gv.to_string(), "apiextensions.k8s.io/v1");
    assert_eq!(&*schema.preferred(&scalers.group_resource()).expect("preferred").gv.version, "v2");
    let gvk = GroupVersionKind { group: "".into(), version: "v1".into(), kind: "Pod".into() };
    assert_eq!(schema.resource_of_kind(&gvk).expect("pods").plural, "pods");

    let leases = schema.strategy(&GroupResource::new("coordination.k8s.io", "leases")).expect("leases");
    assert!(leases.create_on_update && !leases.unconditional_update);
    let pods = GroupResource::new("", "pods");
    assert!(schema.selectable_fields(&pods).iter().any(|field| field == "spec.nodeName"));
    assert_eq!(schema.enumeration("core.v1.PullPolicy").expect("PullPolicy").values.len(), 3);
}

#[test]
fn inlined_fields_are_flat_and_keep_their_protobuf_place() {
    let schema = Schema::builtin();
    let named = |name: &str| schema.get(schema.type_named(name).expect(name));
    let volume = named("core.v1.Volume");
    let host_path = volume.field("hostPath").expect("hostPath");
    assert_eq!((&host_path.nesting[..], host_path.tag), (&[2][..], 1));
    assert_eq!(volume.field("name").map(|field| field.tag), Some(1));
    let ports = named("core.v1.EphemeralContainer").field("ports").expect("ports");
    assert_eq!(
        (&ports.nesting[..], ports.merge_key.as_deref(), ports.list_type),
        (&[1][..], Some("containerPort"), ListType::Map)
    );
    let pod = named("core.v1.Pod");
    assert!(pod.field("kind").is_some() && pod.field("apiVersion").is_some() && pod.field("Kind").is_none());
    let rules = named("admissionregistration.v1.NamedRuleWithOperations");
    assert_eq!(rules.field("apiGroups").map(|field| field.nesting.clone()), Some(vec![2, 2]));
    let container = named("core.v1.Container");
    assert_eq!(container.field("imagePullPolicy").expect("a field").go_type, "v1.PullPolicy");
    assert_eq!(named("core.v1.PodSpec").field("containers").expect("a field").go_type, "[]v1.Container");
    assert_eq!(named("apps.v1.DeploymentSpec").field("replicas").map(|field| field.holder), Some(Holder::Pointer));
    assert!(matches!(named("core.v1.Secret").field("data").expect("data").shape, Shape::Map(_)));
}

#[test]
fn types_that_tell_an_empty_list_from_none() {
    let schema = Schema::builtin();
    let named = |name: &str| schema.get(schema.type_named(name).expect(name));
    for name in ["core.v1.ConfigMap", "core.v1.EphemeralContainer", "batch.v1.CronJob", "networking.v1.NetworkPolicy"] {
        assert!(named(name).tells_empty, "{name}");
    }
    for name in ["core.v1.Service", "coordination.v1.Lease", "meta.v1.LabelSelector", "networking.v1.NetworkPolicyPort"]
    {
        assert!(!named(name).tells_empty, "{name}");
    }
    let all = schema.types().flat_map(|(_, one)| &one.fields).filter(|field| field.told_empty);
    for field in all {
        assert!(field.omit_empty && field.holder == Holder::Collection, "{}", field.json);
    }
}

#[test]
fn parses_fast() {
    // The bound is of a release build; the test build is a few times slower.
    let started = std::time::Instant::now();
    Schema::builtin();
    let took = started.elapsed();
    println!("parsed in {took:?}");
    assert!(took.as_millis() < 500, "{took:?}");
}
