//! Rollouts simulated to convergence: at no step are there too many pods or too few available ones.

use crate::fake::Fake;
use controller_logic::Kind;
use controller_logic::deployment::DeploymentController;
use controller_logic::meta::scaled;
use controller_logic::plan::Target;
use controller_logic::replicaset::ReplicaSetController;
use expect_test::expect;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

fn deployment(replicas: i32, strategy: &Value, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "annotations": {"note": "kept"}},
        "spec": {
            "replicas": replicas, "strategy": strategy, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn cluster() -> Fake {
    Fake::new(vec![Box::new(DeploymentController), Box::new(ReplicaSetController)])
}

fn number(value: &Value) -> IntOrString {
    serde_json::from_value(value.clone()).expect("a number or a percentage")
}

struct Limits {
    most: usize,
    least: usize,
}

impl Limits {
    fn of(replicas: i32, surge: &Value, unavailable: &Value) -> Self {
        let (surge, mut unavailable) =
            (scaled(&number(surge), replicas, true), scaled(&number(unavailable), replicas, false));
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        let size = |number: i32| usize::try_from(number).unwrap_or(0);
        Self { most: size(replicas + surge), least: size(replicas - unavailable) }
    }
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"].as_array().is_some_and(|list| list.iter().any(|own| own["status"] == "True"))
}

/// Runs until nothing changes; pods become ready one at a time, only when controllers have nothing to do, or
/// (`eager`) as soon as they exist. Images in `broken` never become ready.
fn converge(fake: &mut Fake, limits: Option<&Limits>, eager: bool, broken: &str) -> usize {
    for steps in 0..20_000 {
        let moved = fake.step();
        if let Some(limits) = limits {
            let pods = fake.of(Kind::Pod);
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            assert!(pods.len() <= limits.most, "{} pods, at most {} allowed", pods.len(), limits.most);
            assert!(ready >= limits.least, "{ready} pods ready, at least {} needed", limits.least);
        }
        if !moved || eager {
            let waiting = fake.objects.iter().find(|(target, object)| {
                &*target.gvr.resource == "pods"
                    && !is_ready(object)
                    && object["spec"]["containers"][0]["image"] != broken
            });
            match waiting.map(|(target, _)| target.clone()) {
                Some(target) => {
                    fake.pass(1);
                    fake.make_ready(&target);
                }
                None if !moved => return steps,
                None => {}
            }
        }
    }
    panic!("no convergence: {:#?}", &fake.log[fake.log.len() - 20..]);
}

fn target() -> Target {
    Target::new(Kind::Deployment.gvr(), "ns", "web")
}

fn images(fake: &Fake) -> Vec<String> {
    let mut images: Vec<_> = fake
        .of(Kind::Pod)
        .iter()
        .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap_or("").to_owned())
        .collect();
    images.dedup();
    images
}

fn set_image(fake: &mut Fake, image: &str) {
    let containers = json!([{"name": "c", "image": image}]);
    fake.edit(&target(), json!({"spec": {"template": {"spec": {"containers": containers}}}}));
}

#[test]
fn a_rollout_never_breaks_its_limits() {
    let table = [
        (1, json!("25%"), json!("25%")),
        (3, json!(1), json!(0)),
        (3, json!(0), json!(1)),
        (3, json!(0), json!(0)),
        (4, json!("25%"), json!("25%")),
        (10, json!("25%"), json!("25%")),
        (10, json!("100%"), json!(0)),
        (10, json!(0), json!("100%")),
        (10, json!(3), json!(4)),
        (37, json!("13%"), json!("7%")),
        (100, json!("25%"), json!("25%")),
    ];
    for (replicas, surge, unavailable) in table {
        for eager in [false, true] {
            let mut fake = cluster();
            fake.put(deployment(replicas, &rolling(surge.clone(), unavailable.clone()), "web:1"));
            converge(&mut fake, None, true, "");
            set_image(&mut fake, "web:2");
            let limits = Limits::of(replicas, &surge, &unavailable);
            let steps = converge(&mut fake, Some(&limits), eager, "");
            assert_eq!(images(&fake), ["web:2"], "{replicas} {surge} {unavailable}");
            assert_eq!(fake.of(Kind::Pod).len(), usize::try_from(replicas).expect("positive"));
            assert!(steps < 40 * usize::try_from(replicas).expect("positive") + 200, "{steps} steps for {replicas}");
        }
    }
}

#[test]
fn a_broken_rollout_stops_and_is_rolled_back() {
    let (surge, unavailable) = (json!("25%"), json!("25%"));
    let limits = Limits::of(10, &surge, &unavailable);
    let mut fake = cluster();
    fake.put(deployment(10, &rolling(surge, unavailable), "web:1"));
    converge(&mut fake, None, false, "");
    set_image(&mut fake, "web:broken");
    converge(&mut fake, Some(&limits), false, "web:broken");
    let status = |fake: &Fake| fake.objects[&target()]["status"].clone();
    assert_eq!(status(&fake)["updatedReplicas"], 5, "surge and unavailable together");
    assert_eq!(status(&fake)["availableReplicas"], 8);
    // The deadline passes.
    fake.pass(601);
    fake.wake(0, "ns", "web");
    converge(&mut fake, Some(&limits), false, "web:broken");
    let conditions = status(&fake)["conditions"].clone();
    let progressing =
        conditions.as_array().expect("a list").iter().find(|own| own["type"] == "Progressing").expect("there");
    let text = format!("{} {} {}", progressing["status"], progressing["reason"], progressing["message"]);
    let hash = fake
        .of(Kind::ReplicaSet)
        .iter()
        .find(|set| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2")
        .expect("the broken set")["metadata"]["name"]
        .clone();
    assert_eq!(
        text,
        format!(
            "\"False\" \"ProgressDeadlineExceeded\" \"ReplicaSet \\\"{}\\\" has timed out progressing.\"",
            hash.as_str().expect("a name")
        )
    );
    set_image(&mut fake, "web:1");
    converge(&mut fake, Some(&limits), false, "web:broken");
    assert_eq!(images(&fake), ["web:1"]);
    assert_eq!(fake.objects[&target()]["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
}

#[test]
fn recreate_never_mixes_versions() {
    let mut fake = cluster();
    fake.put(deployment(5, &json!({"type": "Recreate"}), "web:1"));
    converge(&mut fake, None, false, "");
    set_image(&mut fake, "web:2");
    while fake.step() {
        assert!(images(&fake).len() <= 1, "{:?}", images(&fake));
    }
    converge(&mut fake, None, false, "");
    assert_eq!(images(&fake), ["web:2"]);
    assert_eq!(fake.of(Kind::Pod).len(), 5);
}

#[test]
fn history_is_limited_and_pausing_holds_a_rollout() {
    let mut fake = cluster();
    fake.put(deployment(2, &rolling(json!(1), json!(0)), "web:1"));
    converge(&mut fake, None, false, "");
    for version in 2..=6 {
        set_image(&mut fake, &format!("web:{version}"));
        converge(&mut fake, None, false, "");
    }
    assert_eq!(fake.of(Kind::ReplicaSet).len(), 3, "two old ones and the new");
    fake.edit(&target(), json!({"spec": {"paused": true}}));
    set_image(&mut fake, "web:7");
    converge(&mut fake, None, false, "");
    assert_eq!(images(&fake), ["web:6"]);
    fake.edit(&target(), json!({"spec": {"replicas": 4}}));
    converge(&mut fake, None, false, "");
    assert_eq!(fake.of(Kind::Pod).len(), 4, "a paused Deployment can be scaled");
    fake.edit(&target(), json!({"spec": {"paused": null}}));
    converge(&mut fake, None, false, "");
    assert_eq!(images(&fake), ["web:7"]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let mut fake = cluster();
    fake.put(deployment(10, &rolling(json!(3), json!(2)), "web:1"));
    converge(&mut fake, None, false, "");
    set_image(&mut fake, "web:broken");
    converge(&mut fake, None, false, "web:broken");
    let sizes = |fake: &Fake| {
        let sets = fake.of(Kind::ReplicaSet).into_iter();
        let mut sizes: Vec<_> = sets
            .map(|set| {
                (
                    set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or("").to_owned(),
                    set["spec"]["replicas"].as_i64(),
                )
            })
            .collect();
        sizes.sort();
        format!("{sizes:?}")
    };
    expect![[r#"[("web:1", Some(8)), ("web:broken", Some(5))]"#]].assert_eq(&sizes(&fake));
    fake.edit(&target(), json!({"spec": {"replicas": 15}}));
    // Only the scaling itself: the rollout would go on afterwards.
    fake.wake(0, "ns", "web");
    while !fake.events.iter().any(|event| event.contains("from 8 to")) && fake.step() {}
    expect![[r#"[("web:1", Some(11)), ("web:broken", Some(7))]"#]].assert_eq(&sizes(&fake));
}

#[test]
fn the_story_of_a_rollout() {
    let mut fake = cluster();
    fake.put(deployment(3, &rolling(json!(1), json!(0)), "web:1"));
    converge(&mut fake, None, false, "");
    set_image(&mut fake, "web:2");
    converge(&mut fake, None, false, "");
    let names: Vec<_> =
        fake.of(Kind::ReplicaSet).iter().map(|set| set["metadata"]["name"].as_str().unwrap_or("").to_owned()).collect();
    let mut story = fake.events.join("\n");
    for name in names {
        let image =
            fake.objects[&Target::new(Kind::ReplicaSet.gvr(), "ns", &name)]["spec"]["template"]["spec"]["containers"]
                [0]["image"]
                .clone();
        story = story.replace(&name, image.as_str().unwrap_or(""));
    }
    expect![[r#"
        ScalingReplicaSet Scaled up replica set web:1 from 0 to 3
        ScalingReplicaSet Scaled up replica set web:2 from 0 to 1
        ScalingReplicaSet Scaled down replica set web:1 from 3 to 2
        ScalingReplicaSet Scaled up replica set web:2 from 1 to 2
        ScalingReplicaSet Scaled down replica set web:1 from 2 to 1
        ScalingReplicaSet Scaled up replica set web:2 from 2 to 3
        ScalingReplicaSet Scaled down replica set web:1 from 1 to 0"#]]
    .assert_eq(&story);
}
