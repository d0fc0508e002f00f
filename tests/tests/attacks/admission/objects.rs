//! What goes first, what holds what, and what only the server says of an object (A45 to A47).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{APPLY, NAMESPACES, done, forbidden, forbidden_in_all_ways, invalid, put, until_some};
use crate::world::{PODS, World, pod, ways};

/// While a namespace ends its pods go first: as long as one is there, so is what protects it and others from it.
pub(crate) async fn a45_pods_go_before_network_policies(world: &World) {
    let api = "/api/v1/namespaces/a45";
    let policies = "/apis/networking.k8s.io/v1/namespaces/a45/networkpolicies";
    world.namespace("a45", json!({})).await;
    world.admin.make(policies, &json!({"metadata": {"name": "closed"}, "spec": {"podSelector": {}}})).await;
    let map = json!({"metadata": {"name": "kept"}, "data": {"k": "v"}});
    world.admin.make(&format!("{api}/configmaps"), &map).await;
    let mut held = pod("held");
    held["metadata"]["finalizers"] = json!(["a45.example.com/held"]);
    world.admin.make(&format!("{api}/pods"), &held).await;
    world.admin.make(&format!("{api}/pods"), &pod("free")).await;
    done(&world.admin.delete(api).await, "a namespace ends");
    until_some(&world.admin, &format!("{api}/pods/held"), "/metadata/deletionTimestamp").await;
    world.admin.until_is(&format!("{api}/pods/free"), |answer| answer.code == 404).await;
    // Longer than the controller waits before it looks again.
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        for target in [format!("{policies}/closed"), format!("{api}/configmaps/kept")] {
            let answer = world.admin.get(&target).await;
            assert_eq!(answer.code, 200, "{target} went before a pod: {}", answer.status());
            assert!(answer.json()["metadata"]["deletionTimestamp"].is_null(), "{target} is deleted before a pod");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let free = json!({"metadata": {"finalizers": null}});
    done(&world.admin.merge(&format!("{api}/pods/held"), &free).await, "the pod goes");
    world.admin.until_is(api, |answer| answer.code == 404).await;
}

/// An object of one namespace holds or ends nothing of another, owners are made to wait only by those who may hold
/// them, and finalizers are taken away only by those who may write what has them.
pub(crate) async fn a46_owners_across_namespaces(world: &World) {
    let maps = |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps");
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let owner = |object: &Value| {
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": object["metadata"]["name"],
            "uid": object["metadata"]["uid"], "blockOwnerDeletion": true}])
    };
    for namespace in ["a46-victim", "a46-attacker"] {
        world.namespace(namespace, json!({})).await;
    }
    let victim = world.admin.make(&maps("a46-victim"), &map("owner")).await;
    let mut blocker = map("blocker");
    blocker["metadata"]["ownerReferences"] = owner(&victim);
    blocker["metadata"]["finalizers"] = json!(["a46.example.com/held"]);
    world.admin.make(&maps("a46-attacker"), &blocker).await;
    // Of the whole cluster, with an owner that is in a namespace: it can be looked up nowhere.
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = json!({"metadata": {"name": "a46", "ownerReferences": owner(&victim)}});
    world.admin.make(roles, &role).await;
    // The other way round all is as it should be: a dependent beside its owner blocks it.
    let beside = world.admin.make(&maps("a46-victim"), &map("beside")).await;
    let mut dependent = map("dependent");
    dependent["metadata"]["ownerReferences"] = owner(&beside);
    dependent["metadata"]["finalizers"] = json!(["a46.example.com/held"]);
    world.admin.make(&maps("a46-victim"), &dependent).await;
    let foreground = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"});
    for name in ["owner", "beside"] {
        let target = format!("{}/{name}", maps("a46-victim"));
        let deleted = world.admin.send("DELETE", &target, &[system_tests::client::JSON], foreground.to_string()).await;
        done(&deleted, "an owner is deleted in the foreground");
    }
    world.admin.until_is(&format!("{}/owner", maps("a46-victim")), |answer| answer.code == 404).await;
    let target = format!("{}/dependent", maps("a46-victim"));
    until_some(&world.admin, &target, "/metadata/deletionTimestamp").await;
    assert_eq!(world.admin.get(&format!("{}/beside", maps("a46-victim"))).await.code, 200, "an owner that is blocked");
    assert_eq!(world.admin.get(&format!("{roles}/a46")).await.code, 200, "what has an owner that cannot be looked up");

    finalizers(world, &target).await;
    for target in [target, format!("{}/blocker", maps("a46-attacker"))] {
        world.admin.merge(&target, &json!({"metadata": {"finalizers": null}})).await;
    }
    world.admin.until_is(&format!("{}/beside", maps("a46-victim")), |answer| answer.code == 404).await;
    for target in [format!("{roles}/a46"), format!("{NAMESPACES}/a46-victim"), format!("{NAMESPACES}/a46-attacker")] {
        world.admin.delete(&target).await;
    }
    owners_that_wait().await;
}

/// `held` is deleting, and has a finalizer.
async fn finalizers(world: &World, held: &str) {
    let rules = json!([{"verbs": ["get", "list", "watch", "create", "delete"], "apiGroups": [""],
        "resources": ["configmaps", "namespaces"]}]);
    let deleter = world.user_with("a46-deleter", rules).await;
    let stored = world.admin.get(held).await.json();
    let free = json!({"metadata": {"finalizers": null}});
    forbidden_in_all_ways(&deleter, held, &ways(&stored, &free), "cannot").await;
    done(&deleter.delete(held).await, "who may delete deletes again");
    assert_eq!(world.admin.get(held).await.code, 200, "a finalizer holds what is deleted again");
    let more = ways(&stored, &json!({"metadata": {"finalizers": ["a46.example.com/held", "a46.example.com/more"]}}));
    for way in &more {
        invalid(
            &way.send(&world.admin, held).await,
            &format!("a further finalizer of what is deleting by {}", way.name),
        );
    }
    // The finalizers of a namespace are a subresource, with a right of its own.
    let rules = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["namespaces", "namespaces/status"]}]);
    let writer = world.user_with("a46-writer", rules).await;
    let target = "/api/v1/namespaces/a46-victim";
    let stored = world.admin.get(target).await.json();
    let ways = ways(&stored, &json!({"spec": {"finalizers": null}}));
    for way in &ways {
        for part in ["", "/status"] {
            done(&way.send(&writer, &format!("{target}{part}")).await, "a namespace is written");
        }
    }
    forbidden(&ways[0].send(&writer, &format!("{target}/finalize")).await, "cannot", "a namespace is finalized");
    let after = world.admin.get(target).await.json();
    assert_eq!(after["spec"]["finalizers"], json!(["kubernetes"]), "{after:#}");
}

async fn owners_that_wait() {
    let world = World::with(&["--enable-admission-plugins", "OwnerReferencesPermissionEnforcement"]);
    world.settle().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let owner = json!({"metadata": {"name": "a46"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": template}});
    let owner = world.admin.make(deployments, &owner).await;
    let owners = |blocks: bool| {
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "a46", "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocks}])
    };
    let rules = |verbs: Value| json!([{"verbs": verbs, "apiGroups": [""], "resources": ["configmaps"]}]);
    let writer = world.user_with("a46-writer", rules(json!(["get", "create", "update", "patch"]))).await;
    let deleter = world.user_with("a46-deleter", rules(json!(["*"]))).await;
    let mut all = rules(json!(["*"]));
    all.as_array_mut().expect("rules").push(json!({"verbs": ["update"], "apiGroups": ["apps"],
        "resources": ["deployments/finalizers"]}));
    let holder = world.user_with("a46-holder", all).await;
    let stored = world.admin.make(maps, &json!({"metadata": {"name": "a46"}})).await;
    let target = format!("{maps}/a46");
    let owned = ways(&stored, &json!({"metadata": {"ownerReferences": owners(false)}}));
    forbidden_in_all_ways(&writer, &target, &owned, "cannot set an ownerRef on a resource you can't delete").await;
    let blocked = ways(&stored, &json!({"metadata": {"ownerReferences": owners(true)}}));
    const WHY: &str =
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
    forbidden_in_all_ways(&deleter, &target, &blocked, WHY).await;
    let new = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a46-new", "ownerReferences": owners(true)}});
    forbidden(&deleter.post(maps, &new).await, WHY, "a new object that blocks");
    let applied = format!("{maps}/a46-new?fieldManager=a46");
    let applied = deleter.send("PATCH", &applied, &[APPLY], new.to_string()).await;
    forbidden(&applied, WHY, "a new object that blocks, by an apply");
    done(&owned[1].send(&deleter, &target).await, "an owner by who may delete");
    done(&blocked[1].send(&holder, &target).await, "an owner that waits by who may hold it");
}

/// What only the server knows of an object, whoever says otherwise and in whatever way: its uid, when it was made, its
/// generation and version, and whether it is deleting.
pub(crate) async fn a47_metadata_is_the_servers(world: &World) {
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let policy = |meta: Value| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta,
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
    };
    let entry = |manager: &str, operation: &str, fields: Value| {
        json!([{"manager": manager, "operation": operation, "apiVersion": "networking.k8s.io/v1",
            "time": "1999-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}])
    };
    let forged = entry("a47-forged", "Update", json!({"f:spec": {"f:policyTypes": {}}}));
    let lies = json!({"uid": "a47", "creationTimestamp": "1999-01-01T00:00:00Z", "generation": 47, "selfLink": "/a47",
        "deletionTimestamp": "1999-01-01T00:00:00Z", "deletionGracePeriodSeconds": 47, "managedFields": forged});
    let lying = |name: &str, without: &[&str]| {
        let mut meta = lies.clone();
        meta["name"] = name.into();
        without.iter().for_each(|field| put(&mut meta, &json!({*field: null})));
        meta
    };
    let honest = |object: &Value| {
        let meta = &object["metadata"];
        let uid = meta["uid"].as_str().unwrap_or("");
        assert!(uid.len() == 36, "the uid is the client's: {meta:#}");
        let created = meta["creationTimestamp"].as_str().unwrap_or("");
        assert!(created > "2020", "made when the client says: {meta:#}");
        for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            assert!(meta[field].is_null(), "{field} is the client's: {meta:#}");
        }
        assert!(!meta["managedFields"].to_string().contains("a47-forged"), "who manages fields is forged: {meta:#}");
    };
    // New objects.
    let stored = world.admin.make(&format!("{policies}?fieldManager=a47"), &policy(lying("a47", &[]))).await;
    honest(&stored);
    assert_eq!(stored["metadata"]["generation"], 1);
    assert_eq!(stored["metadata"]["managedFields"][0]["manager"], "a47", "{stored:#}");
    let versioned = world.admin.post(policies, &policy(json!({"name": "a47-new", "resourceVersion": "47"}))).await;
    let right = versioned.status().contains("resourceVersion should not be set on objects to be created");
    assert!(right && versioned.code != 201, "a new object with a version: {}", versioned.status());
    let apply = async |name: &str, meta: Value| {
        let target = format!("{policies}/{name}?fieldManager=a47&force=true");
        world.admin.send("PATCH", &target, &[APPLY], policy(meta).to_string()).await
    };
    let applied = apply("a47-new", lying("a47-new", &["managedFields"])).await;
    assert_eq!(applied.code, 409, "a new object with a uid by an apply: {}", applied.status());
    let applied = apply("a47-new", lying("a47-new", &["uid"])).await;
    assert_eq!(applied.code, 400, "an apply that says who manages: {}", applied.status());
    let applied = apply("a47-new", lying("a47-new", &["uid", "managedFields"])).await;
    assert_eq!(applied.code, 201, "{}", applied.status());
    honest(&applied.json());
    assert_eq!(applied.json()["metadata"]["generation"], 1);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases/a47";
    let lease = |without: &[&str]| json!({"metadata": lying("a47", without), "spec": {"holderIdentity": "h"}});
    let put = world.admin.put(leases, &lease(&["managedFields"])).await;
    assert_eq!(put.code, 409, "a new object with a uid by an update: {}", put.status());
    let put = world.admin.put(leases, &lease(&["uid", "managedFields"])).await;
    assert_eq!(put.code, 201, "{}", put.status());
    honest(&put.json());

    // Objects that are there: what each of these may be answered with, besides being ignored.
    let system = |object: &Value| {
        let mut meta = object["metadata"].clone();
        meta.as_object_mut().map(|meta| meta.remove("managedFields"));
        meta.as_object_mut().map(|meta| meta.remove("resourceVersion"));
        meta
    };
    let target = format!("{policies}/a47");
    let lies: [(Value, &[u16]); 9] = [
        (json!({"uid": "a47"}), &[409, 422]),
        (json!({"creationTimestamp": "1999-01-01T00:00:00Z"}), &[200]),
        (json!({"creationTimestamp": null}), &[200]),
        (json!({"generation": 47}), &[200]),
        (json!({"generation": 0}), &[200]),
        (json!({"selfLink": "/a47"}), &[200]),
        (json!({"deletionTimestamp": "1999-01-01T00:00:00Z"}), &[422]),
        (json!({"deletionGracePeriodSeconds": 47}), &[422]),
        (json!({"name": "a47-other"}), &[400, 422]),
    ];
    for (lie, codes) in &lies {
        for way in ways(&stored, &json!({"metadata": lie})) {
            let answer = way.send(&world.admin, &target).await;
            let what = format!("{lie} by {}", way.name);
            assert!(codes.contains(&answer.code), "{what}: not {codes:?} but {}", answer.status());
            let after = world.admin.get(&target).await.json();
            assert_eq!(system(&after), system(&stored), "{what}: {}", answer.status());
        }
    }
    let patch = |meta: Value| json!({"metadata": meta});
    for (version, codes) in [("1", &[409][..]), ("a47", &[400, 409, 422][..]), ("-1", &[400, 409, 422][..])] {
        let mut body = stored.clone();
        body["metadata"]["resourceVersion"] = version.into();
        let put = world.admin.put(&target, &body).await;
        let merge = world.admin.merge(&target, &patch(json!({"resourceVersion": version, "labels": {"a": "b"}}))).await;
        for answer in [put, merge] {
            assert!(codes.contains(&answer.code), "the version {version}: {}", answer.status());
        }
    }
    // Who says who manages what says it well, or it is not heard.
    for bad in [
        entry("a47-forged", "Steal", json!({"f:spec": {}})),
        entry("a47-forged", "Update", json!({"spec": 1})),
        entry("a47-forged", "Update", json!({"f:spec": {"k:[": {}}})),
    ] {
        let answer = world.admin.merge(&target, &patch(json!({"managedFields": bad}))).await;
        assert!(answer.code < 500, "{bad}: {}", answer.status());
        let after = world.admin.get(&target).await;
        assert!(!after.text().contains("a47-forged"), "{bad} is kept: {}", after.text());
    }
    let mut longer = policy(json!({"name": "a47"}));
    longer["spec"]["policyTypes"] = json!(["Ingress", "Egress"]);
    let changed = world.admin.put(&target, &longer).await;
    done(&changed, "a real change");
    assert_eq!(changed.json()["metadata"]["generation"], 2, "a real change counts");
    lies_through_a_status(world).await;
    for target in [target, format!("{policies}/a47-new"), leases.to_owned()] {
        world.admin.delete(&target).await;
    }
}

async fn lies_through_a_status(world: &World) {
    let stored = world.admin.make(PODS, &pod("a47")).await;
    let target = format!("{PODS}/a47");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    for lie in [
        json!({"metadata": {"uid": "a47"}}),
        json!({"metadata": {"creationTimestamp": "1999-01-01T00:00:00Z", "generation": 47}}),
        json!({"metadata": {"deletionTimestamp": "1999-01-01T00:00:00Z"}}),
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a47", "uid": "a47"}]}}),
        json!({"spec": {"nodeName": "a47", "hostNetwork": true}}),
    ] {
        for way in ways(&stored, &lie) {
            let answer = way.send(&world.admin, &format!("{target}/status")).await;
            let code = answer.code;
            assert!(matches!(code, 200 | 409 | 422), "{lie} by {} of a status: {}", way.name, answer.status());
        }
    }
    done(&world.admin.merge(&format!("{target}/status"), &label).await, "a status");
    let after = world.admin.get(&target).await.json();
    for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "ownerReferences"] {
        assert_eq!(after["metadata"][field], stored["metadata"][field], "{field} by a status: {after:#}");
    }
    assert_eq!(after["spec"], stored["spec"], "a spec by a status");
    world.admin.delete(&target).await;
}
