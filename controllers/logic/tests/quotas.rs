//! What quotas become: one state, one plan. `UPDATE_EXPECT=1` rewrites the plans.

use crate::fake::Fake;
use controller_logic::graph::KindInfo;
use controller_logic::resource_quota::ResourceQuotaController;
use controller_logic::{Action, Gvr, Key, Step};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

fn object(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "ns", "uid": name}})
}

fn quota(hard: Value, used: Value) -> Value {
    let mut quota = object("ResourceQuota", "q");
    quota["spec"] = json!({"hard": hard});
    if !used.is_null() {
        quota["status"] = json!({"hard": hard, "used": used});
    }
    quota
}

fn pod(name: &str, phase: &str) -> Value {
    let mut pod = object("Pod", name);
    pod["spec"] = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]});
    pod["status"] = json!({"phase": phase});
    pod
}

fn world(objects: &[Value]) -> Fake {
    let mut fake = Fake::new(vec![Box::new(ResourceQuotaController)]);
    for (kind, plural) in [("Secret", "secrets"), ("ConfigMap", "configmaps")] {
        let info = KindInfo { gvr: Gvr::new("", "v1", plural), namespaced: true };
        fake.world.graph.kinds.insert(("v1".to_owned(), kind.to_owned()), info);
    }
    objects.iter().for_each(|object| {
        fake.put(object.clone());
    });
    fake
}

fn check(fake: &Fake, expected: &Expect) {
    let plan = fake.plan(&ResourceQuotaController, "ns", "q");
    let mut text = String::new();
    for step in &plan.steps {
        let Step::One(Action::Update { subresource, object, .. }) = step else { panic!("one update: {step:?}") };
        text += &format!("{subresource} over {}: {}\n", object["metadata"]["resourceVersion"], object["status"]);
    }
    text += &plan.requeue_after.map(|after| format!("again in {after:?}\n")).unwrap_or_default();
    text += if plan.level { "when all kinds are at one level\n" } else { "" };
    expected.assert_eq(&text);
}

#[test]
fn a_new_quota_is_counted() {
    let hard = json!({"pods": "3", "requests.cpu": "2", "services": "1", "persistentvolumeclaims": "1"});
    let fake = world(&[pod("a", "Running"), pod("b", "Pending"), pod("c", "Succeeded"), quota(hard, Value::Null)]);
    check(
        &fake,
        &expect![[r#"
        status over "4": {"hard":{"persistentvolumeclaims":"1","pods":"3","requests.cpu":"2","services":"1"},"used":{"persistentvolumeclaims":"0","pods":"2","requests.cpu":"1","services":"0"}}
    "#]],
    );
}

#[test]
fn what_was_given_back_is_counted() {
    let fake = world(&[pod("a", "Running"), quota(json!({"pods": "3"}), json!({"pods": "2"}))]);
    check(
        &fake,
        &expect![[r#"
        status over "2": {"hard":{"pods":"3"},"used":{"pods":"1"}}
    "#]],
    );
    let same = world(&[pod("a", "Running"), quota(json!({"pods": "3"}), json!({"pods": "1"}))]);
    check(&same, &expect![[""]]);
}

#[test]
fn scopes_hold_some() {
    let mut scoped = quota(json!({"pods": "3", "configmaps": "1"}), Value::Null);
    scoped["spec"]["scopes"] = json!(["BestEffort"]);
    let mut plain = pod("b", "Running");
    plain["spec"]["containers"][0].as_object_mut().expect("a container").remove("resources");
    let fake = world(&[pod("a", "Running"), plain, object("ConfigMap", "m"), scoped]);
    check(
        &fake,
        &expect![[r#"
        status over "4": {"hard":{"configmaps":"1","pods":"3"},"used":{"configmaps":"0","pods":"1"}}
    "#]],
    );
}

#[test]
fn what_is_known_by_name_only_is_looked_at_again() {
    let hard = json!({"configmaps": "3", "count/secrets": "3", "count/widgets.example.com": "1"});
    let fake = world(&[object("ConfigMap", "m"), quota(hard, Value::Null)]);
    check(
        &fake,
        &expect![[r#"
        status over "2": {"hard":{"configmaps":"3","count/secrets":"3","count/widgets.example.com":"1"},"used":{"configmaps":"1","count/secrets":"0"}}
        again in 5s
    "#]],
    );
}

#[test]
fn objects_are_at_least_as_new_as_the_quota() {
    let mut fake = world(&[pod("a", "Running"), quota(json!({"pods": "3"}), json!({"pods": "2"}))]);
    fake.level = false;
    check(
        &fake,
        &expect![[r#"
        when all kinds are at one level
    "#]],
    );
}

#[test]
fn who_is_woken() {
    let mut fake = world(&[pod("a", "Running"), quota(json!({"pods": "3"}), json!({"pods": "1"}))]);
    assert_eq!(fake.woken(), [Key::new("ns", "q")], "a new quota");
    // Its status is written by those who count.
    fake.put(quota(json!({"pods": "3"}), json!({"pods": "2"})));
    fake.put(pod("b", "Running"));
    fake.put(object("ConfigMap", "m"));
    assert_eq!(fake.woken(), []);
    fake.put(pod("b", "Succeeded"));
    assert_eq!(fake.woken(), [Key::new("ns", "q")], "a pod ended");
    fake.put(quota(json!({"pods": "4"}), json!({"pods": "2"})));
    assert_eq!(fake.woken(), [Key::new("ns", "q")], "another limit");
}
