//! One client that asks without end does not keep nodes and leaders from renewing their leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use system_tests::client::{Client, JSON, certify};
use system_tests::eventually;
use system_tests::servers::Server;

const PATIENCE: Duration = Duration::from_secs(60);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Renewals that are timed, and the pause between two.
const RENEWALS: usize = 500;
const PACE: Duration = Duration::from_millis(20);
/// Requests of the storm under way at once.
const STORM: usize = 200;
/// A machine of two cores that server, storm and clock share is not asked for less.
const FLOOR: Duration = Duration::from_millis(20);

struct World {
    server: Server,
    dir: tempfile::TempDir,
}

impl World {
    fn client(&self, name: &str, groups: &[&str]) -> Client {
        self.server.client(Some(&certify(&self.server.authority(), self.dir.path(), name, groups)))
    }
}

/// What renewing a lease takes, p99: on a thread of its own, that answers to the storm do not keep waiting.
async fn renewing(world: &Arc<World>) -> Duration {
    let world = world.clone();
    let timed = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { renew(&world.client("system:node:n1", &["system:nodes"])).await })
    });
    timed.await.expect("no panic")
}

async fn renew(node: &Client) -> Duration {
    let mut session = node.session().await;
    let target = format!("{LEASES}/n1");
    let mut lease = node.get(&target).await.json();
    let mut taken = Vec::with_capacity(RENEWALS);
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for _ in 0..RENEWALS {
        tick.tick().await;
        let started = Instant::now();
        let answer = session.send("PUT", &target, &[JSON], lease.to_string()).await;
        assert_eq!(answer.code, 200, "{}", answer.status());
        taken.push(started.elapsed());
        lease = answer.json();
    }
    taken.sort_unstable();
    taken[RENEWALS * 99 / 100]
}

#[derive(Default)]
struct Count {
    answered: AtomicU64,
    refused: AtomicU64,
    over: AtomicBool,
}

/// Requests without end from one user, until told to stop.
async fn storm(client: &Client, count: &Arc<Count>, what: impl Fn(usize) -> (&'static str, String, String)) {
    let mut all = tokio::task::JoinSet::new();
    let mut session = client.session().await;
    for number in 0..STORM {
        // A connection takes a hundred requests at once.
        if number % 90 == 0 {
            session = client.session().await;
        }
        let (mut session, count, (method, target, body)) = (session.clone(), count.clone(), what(number));
        all.spawn(async move {
            while !count.over.load(Ordering::Relaxed) {
                let answer = session.send(method, &target, &[JSON], body.clone()).await;
                match answer.code {
                    200..=299 => count.answered.fetch_add(1, Ordering::Relaxed),
                    429 => count.refused.fetch_add(1, Ordering::Relaxed),
                    _ => panic!("{}", answer.status()),
                };
                if answer.code == 429 {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        });
    }
    all.join_all().await;
}

fn event(number: usize) -> (&'static str, String, String) {
    let object = json!({"metadata": {"generateName": "storm-"}, "reason": "Storm", "message": format!("of {number}"),
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p", "apiVersion": "v1"}, "type": "Warning"});
    ("POST", EVENTS.to_owned(), object.to_string())
}

fn list(_: usize) -> (&'static str, String, String) {
    ("GET", MAPS.to_owned(), String::new())
}

/// A lease to renew, 2 MB of ConfigMaps to list, and a user who may make the storm.
async fn prepare(world: &World) -> Client {
    let (admin, node) = (world.client("admin", &["system:masters"]), world.client("system:node:n1", &["system:nodes"]));
    for there in ["/readyz", "/api/v1/namespaces/kube-node-lease", "/api/v1/namespaces/default"] {
        admin.until(there).await;
    }
    let lease = json!({"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 40}});
    node.make(LEASES, &lease).await;
    for number in 0..200 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"a": "x".repeat(10_000)}});
        admin.make(MAPS, &map).await;
    }
    let rules = json!([{"verbs": ["create", "list"], "apiGroups": [""], "resources": ["events", "configmaps"]}]);
    admin.grant(None, "storm", rules).await;
    world.client("storm", &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_renewed_in_a_storm() {
    let mut server = Server::new();
    server.start(&["--init"]);
    eventually("the server serves", PATIENCE, || server.replicas());
    let world = Arc::new(World { server, dir: tempfile::tempdir().expect("a directory") });
    let client = prepare(&world).await;
    let quiet = renewing(&world).await;
    type What = fn(usize) -> (&'static str, String, String);
    let mut slow = Vec::new();
    for (name, what) in [("events", event as What), ("lists", list as What)] {
        let count = Arc::<Count>::default();
        let timed = async {
            let taken = renewing(&world).await;
            count.over.store(true, Ordering::Relaxed);
            taken
        };
        let (taken, ()) = tokio::join!(timed, storm(&client, &count, what));
        let (answered, refused) = (count.answered.load(Ordering::Relaxed), count.refused.load(Ordering::Relaxed));
        println!(
            "renewing a lease, p99: {quiet:?} in quiet, {taken:?} in a storm of {name}: {answered} answered, {refused} refused"
        );
        assert!(answered > 100, "the storm is one");
        if taken > FLOOR.max(quiet * 2) {
            slow.push(name);
        }
    }
    assert!(slow.is_empty(), "leases wait for {slow:?}");
}
