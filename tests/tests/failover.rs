//! kill -9 of each replica in turn, of the leader under a stream of writes, and of all at once: no
//! acknowledged write is lost, no watch misses or repeats an event, another replica answers within two
//! seconds, controllers act again within three.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chaos::checkers;
use chaos::history::{CompactionLog, Op, Outcome, Selector, WatchLog};
use chaos::truth::Truth;
use chaos::workloads::stage::Stage;
use chaos::workloads::watch::{Follower, Manner, follow};
use chaos::workloads::{availability, replay, set};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::Api;
use kube::api::{ListParams, PostParams};
use system_tests::Cluster;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = chaos::workloads::NAMESPACE;
const WRITERS: usize = 32;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const CONTROLLERS_WITHIN: Duration = Duration::from_secs(3);
const WRITES_PER_SECOND: f64 = 500.0;
/// Each writer begins a write at most this often: together a third more than the rate that is asked for.
const PACE: Duration = Duration::from_millis(48);
/// Before and after the fault.
const CALM: Duration = Duration::from_secs(3);
const COME_BACK: Duration = Duration::from_secs(60);

/// What is killed in a round.
#[derive(Clone, Debug)]
enum Fault {
    Replica(u64),
    Leader,
    All,
}

struct Report {
    fault: String,
    writes: Vec<Op>,
    watches: Vec<WatchLog>,
    outage: availability::Outage,
    controllers: Duration,
    rate: f64,
    violations: Vec<String>,
}

#[test]
fn kills_lose_nothing() {
    // Without audit: what is not optimised takes a third of the writes for its records.
    let cluster = Cluster::up(&["--node", "none", "--no-sample", "--audit-log-path", ""]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let rounds = [Fault::Replica(1), Fault::Replica(2), Fault::Replica(3), Fault::Leader, Fault::All];
    let reports: Vec<Report> = rounds
        .into_iter()
        .enumerate()
        .map(|(number, fault)| runtime.block_on(round(&cluster, &format!("r{number}"), fault)))
        .collect();
    print(&reports);
    let mut wrong = Vec::new();
    for report in &reports {
        wrong.extend(report.violations.iter().take(5).map(|one| format!("{}: {one}", report.fault)));
        let whole = report.fault == "all";
        if !whole && report.outage.longest > ANSWER_WITHIN {
            wrong.push(format!("{}: nothing answered for {:?}", report.fault, report.outage.longest));
        }
        if !whole && report.controllers > CONTROLLERS_WITHIN {
            wrong.push(format!("{}: controllers acted after {:?}", report.fault, report.controllers));
        }
        if report.fault.starts_with("leader") && report.rate < WRITES_PER_SECOND {
            wrong.push(format!("{}: only {:.0} writes/s before the fault", report.fault, report.rate));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn clients(cluster: &Cluster) -> Vec<kube::Client> {
    let mut clients = Vec::new();
    for replica in 1..=3 {
        clients.push(chaos::client(&cluster.kubeconfig_of(replica)).await.expect("a client"));
    }
    clients
}

async fn round(cluster: &Cluster, run: &str, fault: Fault) -> Report {
    let clients = clients(cluster).await;
    let stage = stage(&clients, run);
    let from = replay::head(&stage.clients).await.expect("a revision");
    let (target, told) = tokio::sync::watch::channel(None);
    let watches: Vec<_> =
        (0..3).map(|first| tokio::spawn(follow(stage.clone(), hopping(first), from, told.clone()))).collect();
    let outage = tokio::spawn(availability::run(clients.clone(), stage.started, stage.stop.clone()));
    let writers = tokio::spawn(set::run(stage.clone(), WRITERS, PACE));
    tokio::time::sleep(CALM).await;
    let before = stage.now();
    let killed = tokio::task::block_in_place(|| strike(cluster, &fault));
    let controllers = controllers_act(&clients, run).await;
    tokio::task::block_in_place(|| come_back(cluster));
    tokio::time::sleep(CALM).await;
    stage.stop.cancel();
    let writes = writers.await.expect("writers end");
    let outage = outage.await.expect("probes end");
    target.send_replace(Some(replay::head(&stage.clients).await.expect("a revision")));
    let mut logs = Vec::new();
    for one in watches {
        logs.push(one.await.expect("a watcher ends"));
    }
    let (truth, mut violations) = truth(&stage, from).await;
    violations.extend(checkers::set::check(&writes, &truth.finals()));
    violations.extend(checkers::serializable::check(&writes, &truth));
    // Nobody compacts.
    let compactions = CompactionLog::default();
    for log in &logs {
        violations.extend(checkers::watch::check(log, &truth, &compactions));
    }
    let early = |write: &&Op| write.is_acknowledged_write() && write.returned < before;
    let rate = writes.iter().filter(early).count() as f64 / before.as_secs_f64();
    let fault = match fault {
        Fault::Replica(id) => format!("replica {id}"),
        Fault::Leader => format!("leader ({})", killed[0]),
        Fault::All => "all".to_owned(),
    };
    Report { fault, writes, watches: logs, outage, controllers, rate, violations }
}

fn stage(clients: &[kube::Client], run: &str) -> Stage {
    Stage {
        clients: Arc::new((1..).zip(clients.iter().cloned()).collect()),
        stores: Arc::default(),
        round: run.to_owned(),
        started: Instant::now(),
        stop: CancellationToken::new(),
        seed: 1,
        load: 1.0,
        acknowledged: Arc::default(),
    }
}

/// A watcher that goes on at the next replica whenever its connection ends.
fn hopping(first: usize) -> Follower {
    let manner = Manner { timeout: Duration::from_secs(290), asleep: Duration::ZERO };
    Follower { name: format!("watcher {first}"), first, hops: true, selector: Selector::Round, manner }
}

/// What happened, as all three replicas tell it.
async fn truth(stage: &Stage, from: u64) -> (Truth, Vec<String>) {
    let upto = replay::head(&stage.clients).await.expect("a revision");
    let mut told = Vec::new();
    for through in stage.clients.iter() {
        told.push((through.0, replay::objects(stage, through, from, upto).await.expect("a history")));
    }
    checkers::merge::merge(from, upto, &told)
}

fn strike(cluster: &Cluster, fault: &Fault) -> Vec<String> {
    let ids: Vec<u64> = match fault {
        Fault::Replica(id) => vec![*id],
        Fault::Leader => vec![cluster.leader().expect("a leader")],
        Fault::All => vec![1, 2, 3],
    };
    let names: Vec<String> = ids.iter().map(|id| format!("replica-{id}")).collect();
    for name in &names {
        cluster.kill(name);
    }
    names
}

/// `up` starts what was killed again.
fn come_back(cluster: &Cluster) {
    system_tests::eventually("all replicas are back and level", COME_BACK, || {
        let status = cluster.status();
        let replicas = status["replicas"].as_array()?;
        let level = |replica: &serde_json::Value| replica["lag"].as_u64().is_some_and(|lag| lag < 1_000);
        (replicas.len() == 3 && replicas.iter().all(level)).then_some(())
    });
}

/// From the kill until a Deployment made after it has its ReplicaSet.
async fn controllers_act(clients: &[kube::Client], run: &str) -> Duration {
    let started = Instant::now();
    let object: Deployment = serde_json::from_value(serde_json::json!({
        "metadata": {"name": format!("d-{run}")},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": run}},
            "template": {"metadata": {"labels": {"app": run}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    }))
    .expect("a Deployment");
    let mut replica = 0;
    let mut next = || {
        replica += 1;
        clients[replica % clients.len()].clone()
    };
    let patience = Duration::from_millis(500);
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "{run}: no Deployment could be made");
        let api: Api<Deployment> = Api::namespaced(next(), NAMESPACE);
        match tokio::time::timeout(patience, api.create(&PostParams::default(), &object)).await {
            Ok(Ok(_)) => break,
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => break,
            _ => {}
        }
    }
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "{run}: no ReplicaSet was made");
        let api: Api<ReplicaSet> = Api::namespaced(next(), NAMESPACE);
        let options = ListParams::default().labels(&format!("app={run}"));
        if let Ok(Ok(list)) = tokio::time::timeout(patience, api.list(&options)).await
            && !list.items.is_empty()
        {
            return started.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn print(reports: &[Report]) {
    println!(
        "{:<12} {:>7} {:>7} {:>7} {:>8} {:>9} {:>10} {:>11} {:>11} {:>10}",
        "killed",
        "acked",
        "unknown",
        "refused",
        "writes/s",
        "events",
        "reconnects",
        "outage ms",
        "control ms",
        "violations"
    );
    for report in reports {
        let count = |wanted: fn(&Outcome) -> bool| report.writes.iter().filter(|write| wanted(&write.outcome)).count();
        let connections = || report.watches.iter().flat_map(|log| &log.connections);
        let events: usize = connections().map(|connection| connection.messages.len()).sum();
        let reconnects = connections().count();
        println!(
            "{:<12} {:>7} {:>7} {:>7} {:>8.0} {:>9} {:>10} {:>11} {:>11} {:>10}",
            report.fault,
            count(|outcome| matches!(outcome, Outcome::Written(_))),
            count(|outcome| matches!(outcome, Outcome::Unknown(_))),
            count(|outcome| matches!(outcome, Outcome::Refused { .. })),
            report.rate,
            events,
            reconnects,
            report.outage.longest.as_millis(),
            report.controllers.as_millis(),
            report.violations.len(),
        );
    }
}
