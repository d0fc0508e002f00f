//! What budgets become: one state, one plan. `UPDATE_EXPECT=1` rewrites the plans.

use crate::fake::Fake;
use controller_logic::disruption::DisruptionController;
use controller_logic::{Action, Controller, Key, Kind, Step};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

fn object(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "ns", "uid": name}})
}

fn owned(mut object: Value, owner: &Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true}]);
    object
}

fn deployment(replicas: u32) -> Value {
    let mut deployment = object("apps/v1", "Deployment", "web");
    deployment["spec"] = json!({"replicas": replicas, "selector": {}, "template": {}});
    deployment
}

fn set() -> Value {
    let mut set = owned(object("apps/v1", "ReplicaSet", "web-x"), &deployment(0));
    set["spec"] = json!({"replicas": 1, "selector": {}});
    set
}

fn pod(name: &str, ready: bool) -> Value {
    let mut pod = object("v1", "Pod", name);
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod["spec"] = json!({"containers": [{"name": "c"}]});
    let ready = if ready { "True" } else { "False" };
    pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
    pod
}

fn budget(spec: Value, status: Value) -> Value {
    let mut budget = object("policy/v1", "PodDisruptionBudget", "b");
    budget["spec"] = spec;
    budget["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    if !status.is_null() {
        budget["status"] = status;
    }
    budget
}

fn world(objects: &[Value]) -> Fake {
    let mut fake = Fake::new(Vec::new());
    objects.iter().for_each(|object| {
        fake.put(object.clone());
    });
    fake
}

/// The status that is written, and all else that the plan says.
fn check(fake: &Fake, expected: &Expect) {
    let plan = fake.plan(&DisruptionController, "ns", "b");
    let mut text = String::new();
    for step in &plan.steps {
        match step {
            Step::One(Action::Update { subresource, object, .. }) => {
                text +=
                    &format!("{subresource} over {}: {}\n", object["metadata"]["resourceVersion"], object["status"]);
            }
            Step::One(action) => text += &format!("{action}\n"),
            Step::Together(_) | Step::SlowStart(_) => panic!("one thing at a time"),
        }
    }
    text += &plan.requeue_after.map(|after| format!("again in {after:?}\n")).unwrap_or_default();
    expected.assert_eq(&text);
}

#[test]
fn numbers_and_percentages() {
    let pods = || vec![pod("p1", true), pod("p2", true), pod("p3", false)];
    let with = |spec: Value, more: Vec<Value>| {
        let mut objects = pods();
        objects.push(budget(spec, Value::Null));
        objects.extend(more);
        world(&objects)
    };
    check(
        &with(json!({"minAvailable": 1}), vec![]),
        &expect![[r#"
        status over "4": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":1,"disruptionsAllowed":1,"expectedPods":3,"observedGeneration":1}
    "#]],
    );
    check(
        &with(json!({"minAvailable": 2}), vec![]),
        &expect![[r#"
        status over "4": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":2,"disruptionsAllowed":0,"expectedPods":3,"observedGeneration":1}
    "#]],
    );
    // Pods without a controller do not say how many there should be.
    check(
        &with(json!({"maxUnavailable": 1}), vec![]),
        &expect![[r#"
        status over "4": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0,"observedGeneration":1}
        event PodDisruptionBudget b Warning UnmanagedPods: Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.
    "#]],
    );
    // Of a Deployment's pods the Deployment says it.
    let managed: Vec<Value> = pods().into_iter().map(|pod| owned(pod, &set())).collect();
    let with = |spec: Value| {
        let mut objects = managed.clone();
        objects.extend([budget(spec, Value::Null), set(), deployment(4)]);
        world(&objects)
    };
    check(
        &with(json!({"maxUnavailable": 2})),
        &expect![[r#"
        status over "4": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":2,"disruptionsAllowed":0,"expectedPods":4,"observedGeneration":1}
    "#]],
    );
    check(
        &with(json!({"maxUnavailable": "30%"})),
        &expect![[r#"
        status over "4": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":2,"disruptionsAllowed":0,"expectedPods":4,"observedGeneration":1}
    "#]],
    );
    check(
        &with(json!({"minAvailable": "50%"})),
        &expect![[r#"
        status over "4": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":2,"disruptionsAllowed":0,"expectedPods":4,"observedGeneration":1}
    "#]],
    );
}

#[test]
fn what_cannot_be_counted_allows_nothing() {
    let status = json!({"currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 1, "disruptionsAllowed": 1,
        "observedGeneration": 1});
    let job = object("batch/v1", "Job", "j");
    let fake = world(&[budget(json!({"maxUnavailable": 1}), status), owned(pod("p1", true), &job), job]);
    check(
        &fake,
        &expect![[r#"
        status over "1": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"found no controllers for pod \"p1\"","observedGeneration":1,"reason":"SyncFailed","status":"False","type":"DisruptionAllowed"}],"currentHealthy":1,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":1,"observedGeneration":1}
        event PodDisruptionBudget b Warning CalculateExpectedPodCountFailed: Failed to calculate the number of expected pods: found no controllers for pod "p1"
    "#]],
    );
    // No pods, no disruptions: the first come before the next look.
    check(
        &world(&[budget(json!({"minAvailable": 0}), Value::Null)]),
        &expect![[r#"
        status over "1": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0,"observedGeneration":1}
        event PodDisruptionBudget b Normal NoPods: No matching pods found
    "#]],
    );
}

#[test]
fn evictions_under_way() {
    let status = |at: &str| {
        json!({"currentHealthy": 3, "desiredHealthy": 1, "expectedPods": 3, "disruptionsAllowed": 1,
            "observedGeneration": 1, "disruptedPods": {"p1": at, "gone": at}})
    };
    let pods = [pod("p1", true), pod("p2", true), pod("p3", true)];
    let with = |status: Value, pods: &[Value]| {
        let mut objects = pods.to_vec();
        objects.push(budget(json!({"minAvailable": 1}), status));
        world(&objects)
    };
    // Allowed a minute ago: it counts as gone.
    check(
        &with(status("2025-12-31T23:59:00Z"), &pods),
        &expect![[r#"
        status over "4": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":1,"disruptedPods":{"p1":"2025-12-31T23:59:00Z"},"disruptionsAllowed":1,"expectedPods":3,"observedGeneration":1}
        again in 61s
    "#]],
    );
    // Allowed three minutes ago: it stays.
    check(
        &with(status("2025-12-31T23:57:00Z"), &pods),
        &expect![[r#"
        event Pod p1 Warning NotDeleted: Pod was expected by PDB ns/b to be deleted but it wasn't
        status over "4": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":3,"desiredHealthy":1,"disruptionsAllowed":2,"expectedPods":3,"observedGeneration":1}
    "#]],
    );
    let mut deleting = pods.clone();
    deleting[0]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    check(
        &with(status("2025-12-31T23:59:00Z"), &deleting),
        &expect![[r#"
        status over "4": {"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","observedGeneration":1,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":1,"disruptionsAllowed":1,"expectedPods":3,"observedGeneration":1}
    "#]],
    );
}

/// What is written is right and stays so; a change of a pod concerns the budgets that cover it, before or after.
#[test]
fn plans_end_and_pods_wake_their_budgets() {
    let mut fake = world(&[budget(json!({"minAvailable": 1}), Value::Null), pod("p1", true), pod("p2", true)]);
    let plan = fake.plan(&DisruptionController, "ns", "b");
    let Some(Step::One(Action::Update { object, .. })) = plan.steps.first() else { panic!("{plan}") };
    fake.put(object.clone());
    check(&fake, &expect![[""]]);
    let change = |fake: &mut Fake, labels: Value| {
        let mut changed = pod("p1", true);
        changed["metadata"]["labels"] = labels;
        let decoded = serde_json::from_value(changed).expect("a pod");
        let change = fake.world.put::<k8s_openapi::api::core::v1::Pod>(decoded);
        DisruptionController.keys(&fake.world, &change.view())
    };
    assert_eq!(change(&mut fake, json!({"app": "other"})), [Key::new("ns", "b")], "it was covered");
    assert_eq!(change(&mut fake, json!({"app": "others"})), [], "it is not any more");
    assert_eq!(change(&mut fake, json!({"app": "web"})), [Key::new("ns", "b")]);
    assert_eq!(fake.of(Kind::PodDisruptionBudget).len(), 1);
}
