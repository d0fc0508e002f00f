//! Scripts of requests, and what the whole promises: shares are fair, nobody starves, exempt ones never wait, and what
//! is not used is lent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_machinery::UserInfo;
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::config::{FlowSchema, PriorityLevel};
use crate::queue_set::Origin;
use crate::{Digest, Flow, Started, Ticket, Work, dump};

fn level(name: &str, shares: u64, lendable: u64, queuing: Option<(u64, u64, u64)>) -> PriorityLevel {
    let response = match queuing {
        None => json!({"type": "Reject"}),
        Some((queues, hand, length)) => {
            json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}})
        }
    };
    let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
    let object = json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": {"type": "Limited", "limited": limited}});
    PriorityLevel::read(&object).expect("a good level")
}

/// Takes the requests of a group, each user being a flow.
fn schema(name: &str, level: &str, precedence: i64, group: &str, more: &Value) -> FlowSchema {
    let mut object = json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": {
        "matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": level},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "Group", "group": {"name": group}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    FlowSchema::read(&object)
}

struct Sim {
    flow: Flow,
    now: Duration,
    next: Ticket,
    names: HashMap<Ticket, String>,
    tickets: BTreeMap<String, Ticket>,
    /// Names in the order in which they were served.
    served: Vec<String>,
}

impl Sim {
    fn new(limit: u64, levels: Vec<PriorityLevel>, schemas: Vec<FlowSchema>) -> Self {
        let mut flow = Flow::new(limit, Duration::ZERO);
        flow.configure(levels, schemas, Duration::ZERO);
        let (names, tickets, served) = (HashMap::new(), BTreeMap::new(), Vec::new());
        Self { flow, now: Duration::ZERO, next: 0, names, tickets, served }
    }

    fn note(&mut self, served: &[Ticket]) -> String {
        let names: Vec<String> = served.iter().map(|ticket| self.names[ticket].clone()).collect();
        self.served.extend(names.iter().cloned());
        names.join(" ")
    }

    /// A request of a user in a group.
    fn start(&mut self, name: &str, user: &str, group: &str, work: Work) -> (Started, String) {
        let user = UserInfo { name: user.to_owned(), groups: vec![group.to_owned()], ..UserInfo::default() };
        let digest = Digest {
            user: &user,
            is_resource: true,
            verb: "list",
            group: "",
            resource: "pods",
            subresource: "",
            namespace: "a",
            path: "/api/v1/namespaces/a/pods",
        };
        let class = self.flow.classify(&digest);
        self.next += 1;
        self.names.insert(self.next, name.to_owned());
        self.tickets.insert(name.to_owned(), self.next);
        let text = str::to_owned;
        let origin = Origin {
            schema: class.schema.name.as_str().into(),
            distinguisher: class.distinguisher.clone(),
            user: user.name.clone(),
            verb: text("list"),
            path: text("/api/v1/namespaces/a/pods"),
            namespace: text("a"),
            name: String::new(),
            api_version: text("v1"),
            resource: text("pods"),
            subresource: String::new(),
        };
        let (started, served) = self.flow.start(self.next, &class, Arc::new(origin), work, self.now);
        (started, self.note(&served))
    }

    fn finish(&mut self, name: &str) -> String {
        let (served, _) = self.flow.finish(self.tickets[name], self.now);
        self.note(&served)
    }

    fn after(&mut self, millis: u64) -> String {
        self.now += Duration::from_millis(millis);
        let served = self.flow.tick(self.now);
        self.note(&served)
    }

    fn limits(&self) -> BTreeMap<String, u64> {
        self.flow.levels().map(|level| (level.name.to_owned(), level.limits.current)).collect()
    }

    /// `+NAME USER SEATS`, `-NAME`, `?NAME` (gives up), `MILLIS`; one line each, with what came of it.
    fn script(&mut self, lines: &str) -> String {
        let mut out = String::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line[1..].split(' ').collect();
            let done = match &line[..1] {
                "+" => {
                    let seats = words[2].parse().expect("seats");
                    let (started, served) = self.start(words[0], words[1], "g", Work::seats(seats));
                    format!("{started:?}; served: {served}")
                }
                "-" => format!("served: {}", self.finish(words[0])),
                "?" => format!("gone: {}", self.flow.give_up(self.tickets[words[0]], self.now)),
                _ => format!("served: {}", self.after(line.parse().expect("milliseconds"))),
            };
            let level = self.flow.levels().find(|level| level.name == "l").expect("the level");
            let queues = level.queues;
            let state = format!("{} wait, {} run on {} seats", queues.waiting, queues.executing, queues.seats_in_use);
            out.push_str(&format!("{line:<10} {done:<40} {state}\n"));
        }
        out
    }
}

fn one_level(limit: u64, queuing: Option<(u64, u64, u64)>) -> Sim {
    Sim::new(limit, vec![level("l", 1_000_000, 0, queuing)], vec![schema("s", "l", 10, "g", &json!({}))])
}

fn script(sim: &mut Sim, lines: &str, want: &Expect) {
    want.assert_eq(&sim.script(lines));
}

#[test]
fn a_script_of_queues() {
    let mut sim = one_level(2, Some((8, 1, 2)));
    script(
        &mut sim,
        "
        +a1 ann 1
        +a2 ann 1
        +a3 ann 1
        +a4 ann 1
        +a5 ann 1
        +b1 bob 1
        10
        -a1
        ?a4
        ?a4
        -a2
        +w1 ann 2
        +b2 bob 1
        -b1
        5
        -a3
        -w1
        -b2
        ",
        &expect![[r#"
            +a1 ann 1  Executing; served: a1                    0 wait, 1 run on 1 seats
            +a2 ann 1  Executing; served: a2                    0 wait, 2 run on 2 seats
            +a3 ann 1  Waiting; served:                         1 wait, 2 run on 2 seats
            +a4 ann 1  Waiting; served:                         2 wait, 2 run on 2 seats
            +a5 ann 1  Rejected(QueueFull); served:             2 wait, 2 run on 2 seats
            +b1 bob 1  Waiting; served:                         3 wait, 2 run on 2 seats
            10         served:                                  3 wait, 2 run on 2 seats
            -a1        served: b1                               2 wait, 2 run on 2 seats
            ?a4        gone: true                               1 wait, 2 run on 2 seats
            ?a4        gone: false                              1 wait, 2 run on 2 seats
            -a2        served: a3                               0 wait, 2 run on 2 seats
            +w1 ann 2  Waiting; served:                         1 wait, 2 run on 2 seats
            +b2 bob 1  Waiting; served:                         2 wait, 2 run on 2 seats
            -b1        served: b2                               1 wait, 2 run on 2 seats
            5          served:                                  1 wait, 2 run on 2 seats
            -a3        served:                                  1 wait, 1 run on 1 seats
            -w1        served:                                  1 wait, 1 run on 1 seats
            -b2        served: w1                               0 wait, 1 run on 2 seats
        "#]],
    );
}

#[test]
fn a_script_of_refusals() {
    let mut sim = one_level(3, None);
    script(
        &mut sim,
        "
        +a1 ann 2
        +a2 ann 2
        +a3 ann 1
        -a1
        -a3
        +w1 ann 9
        +a4 ann 1
        -w1
        ",
        &expect![[r#"
            +a1 ann 2  Executing; served: a1                    0 wait, 1 run on 2 seats
            +a2 ann 2  Rejected(ConcurrencyLimit); served:      0 wait, 1 run on 2 seats
            +a3 ann 1  Executing; served: a3                    0 wait, 2 run on 3 seats
            -a1        served:                                  0 wait, 1 run on 1 seats
            -a3        served:                                  0 wait, 0 run on 0 seats
            +w1 ann 9  Executing; served: w1                    0 wait, 1 run on 9 seats
            +a4 ann 1  Rejected(ConcurrencyLimit); served:      0 wait, 1 run on 9 seats
            -w1        served:                                  0 wait, 0 run on 0 seats
        "#]],
    );
}

/// A flow of one request at a time is served as fast beside one of a thousand as beside nobody.
#[test]
fn two_flows_share_whatever_they_ask_for() {
    let mut sim = one_level(1, Some((64, 4, 1000)));
    for at in 0..1000 {
        sim.start(&format!("storm{at}"), "storm", "g", Work::seats(1));
    }
    let (mut storm, mut calm) = (0, 0);
    sim.start("calm0", "calm", "g", Work::seats(1));
    for _ in 0..200 {
        let running = sim.served.last().expect("somebody").clone();
        sim.after(5);
        sim.finish(&running);
        if running.starts_with("calm") {
            calm += 1;
            // It asks again as soon as it is answered.
            sim.start(&format!("calm{calm}"), "calm", "g", Work::seats(1));
        } else {
            storm += 1;
        }
    }
    // The storm has as many queues as its hand has cards, which makes it so many flows and no more.
    assert!(calm * 5 >= storm - 5, "calm {calm}, storm {storm}");
}

/// With one queue each, the shares are equal, though one asks for ten times as much.
#[test]
fn shares_are_equal_queue_by_queue() {
    let mut sim = one_level(2, Some((128, 1, 1000)));
    for at in 0..300 {
        sim.start(&format!("big{at}"), "big", "g", Work::seats(1));
        if at % 3 == 0 {
            sim.start(&format!("small{at}"), "small", "g", Work::seats(1));
        }
    }
    let mut running: Vec<String> = sim.served.clone();
    for _ in 0..150 {
        sim.after(7);
        let done = running.remove(0);
        let before = sim.served.len();
        sim.finish(&done);
        running.extend(sim.served[before..].iter().cloned());
    }
    let small = sim.served.iter().take(150).filter(|name| name.starts_with("small")).count();
    assert!((70..=80).contains(&small), "{small} of 150");
}

/// A wide request is not overtaken by narrow ones for ever.
#[test]
fn nobody_starves() {
    let mut sim = one_level(4, Some((64, 2, 500)));
    for at in 0..400 {
        sim.start(&format!("narrow{at}"), &format!("user{}", at % 5), "g", Work::seats(1));
    }
    assert_eq!(sim.start("wide", "wide", "g", Work::seats(4)).0, Started::Waiting);
    for _ in 0..400 {
        let running: Vec<String> = sim.served.clone();
        if running.contains(&"wide".to_owned()) {
            break;
        }
        sim.after(3);
        let at = sim.tickets.len();
        sim.start(&format!("late{at}"), &format!("user{}", at % 5), "g", Work::seats(1));
        let queues = |sim: &Sim| -> Vec<Ticket> {
            let level = sim.flow.levels().find(|level| level.name == "l").expect("the level");
            let executing = level.queues.requests.iter().filter(|(_, request)| request.started.is_some());
            executing.map(|(ticket, _)| *ticket).collect()
        };
        let first = queues(&sim).into_iter().min().expect("somebody");
        let name = sim.names[&first].clone();
        sim.finish(&name);
    }
    let place = sim.served.iter().position(|name| name == "wide").expect("it was served");
    assert!(place < 250, "after {place} others");
}

#[test]
fn exempt_ones_never_wait() {
    let mut sim = one_level(1, Some((1, 1, 0)));
    for at in 0..50 {
        let (started, _) = sim.start(&format!("m{at}"), "admin", "system:masters", Work::seats(10));
        assert_eq!(started, Started::Executing, "{at}");
    }
    assert_eq!(sim.start("a", "ann", "g", Work::seats(1)).0, Started::Executing);
    assert_eq!(sim.start("b", "bob", "g", Work::seats(1)).0, Started::Rejected(crate::RejectReason::QueueFull));
}

/// Every ten seconds seats go where they are wanted; what is reserved stays.
#[test]
fn what_is_not_used_is_lent() {
    let levels = vec![
        level("busy", 40, 0, Some((16, 4, 500))),
        level("idle", 40, 50, Some((16, 4, 500))),
        level("kept", 15, 0, Some((16, 4, 500))),
    ];
    let schemas = vec![schema("busy", "busy", 10, "g", &json!({})), schema("idle", "idle", 20, "h", &json!({}))];
    let mut sim = Sim::new(100, levels, schemas);
    let limits = |sim: &Sim| ["busy", "idle", "kept", "catch-all"].map(|name| sim.limits()[name]);
    let quiet = limits(&sim);
    assert_eq!(quiet.iter().sum::<u64>(), 100, "{quiet:?}");
    for at in 0..300 {
        sim.start(&format!("r{at}"), &format!("user{}", at % 50), "g", Work::seats(1));
    }
    let before = sim.served.len();
    for _ in 0..3 {
        sim.now += Duration::from_secs(10);
        let served = sim.flow.adjust(sim.now);
        sim.note(&served);
    }
    let [busy, idle, kept, _] = limits(&sim);
    assert_eq!((idle, kept), (20, 15), "half of the idle one's is lent, nothing of what is not lendable");
    assert!(busy >= 59, "{busy}");
    assert!(sim.served.len() > before, "those who waited are served with it");
    // When the lender wants its own again it has it in the next period.
    for at in 0..60 {
        sim.start(&format!("i{at}"), &format!("user{at}"), "h", Work::seats(1));
    }
    sim.now += Duration::from_secs(10);
    sim.flow.adjust(sim.now);
    assert!(limits(&sim)[1] >= 40, "{:?}", limits(&sim));
}

#[test]
fn a_write_holds_its_seats_until_it_was_told() {
    let mut sim = one_level(2, Some((8, 2, 10)));
    let write = Work { initial_seats: 1, final_seats: 2, additional: Duration::from_millis(50) };
    assert_eq!(sim.start("w", "ann", "g", write).0, Started::Executing);
    assert_eq!(sim.start("r", "bob", "g", Work::seats(1)).0, Started::Waiting);
    sim.after(10);
    assert_eq!(sim.finish("w"), "", "it is answered, and its seats are not free");
    assert_eq!(sim.after(49), "");
    assert_eq!(sim.after(1), "r");
}

#[test]
fn schemas_are_looked_at_in_order() {
    let levels = || vec![level("l", 10, 0, Some((8, 2, 10))), level("other", 10, 0, None)];
    let mut flow = Flow::new(100, Duration::ZERO);
    let account = json!({"rules": [{"subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": "*"}}],
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"], "namespaces": ["a"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/metrics/*"]}]}],
        "distinguisherMethod": {"type": "ByNamespace"}});
    let schemas = vec![
        schema("late", "other", 500, "g", &json!({})),
        schema("b", "l", 100, "g", &json!({})),
        schema("a", "l", 100, "g", &json!({})),
        schema("dangling", "nowhere", 2, "g", &json!({})),
        schema("account", "l", 50, "", &account),
    ];
    flow.configure(levels(), schemas, Duration::ZERO);
    let of = |user: &str, group: &str, verb: &str, resource: &str, namespace: &str, path: &str| {
        let user = UserInfo { name: user.to_owned(), groups: vec![group.to_owned()], ..UserInfo::default() };
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let is_resource = !resource.is_empty();
        let digest = Digest { user: &user, is_resource, verb, group: "", resource, subresource, namespace, path };
        let class = flow.classify(&digest);
        format!("{} {} {:?}", class.schema.name, class.level, class.distinguisher)
    };
    assert_eq!(of("u", "g", "list", "pods", "a", ""), r#"a l "u""#, "equal ones by name");
    assert_eq!(of("u", "h", "list", "pods", "a", ""), r#"catch-all catch-all """#);
    assert_eq!(of("u", "system:masters", "list", "pods", "a", ""), r#"exempt exempt """#);
    let account = "system:serviceaccount:a:x";
    assert_eq!(of(account, "", "get", "pods/log", "a", ""), r#"account l "a""#);
    for (verb, resource, namespace) in
        [("get", "pods", "a"), ("get", "pods/log", "b"), ("list", "pods/log", "a"), ("get", "pods/log", "")]
    {
        assert!(
            of(account, "", verb, resource, namespace, "").starts_with("catch-all"),
            "{verb} {resource} {namespace}"
        );
    }
    for (path, is) in [
        ("/healthz", true),
        ("/healthz/etcd", true),
        ("/healthzz", false),
        ("/metrics/slis", true),
        ("/metrics", false),
    ] {
        assert_eq!(of(account, "", "get", "", "", path).starts_with("account"), is, "{path}");
    }
    assert!(of("system:serviceaccount:ab:x", "", "get", "pods/log", "a", "").starts_with("catch-all"));
}

#[test]
fn a_level_that_is_gone_is_emptied_first() {
    let mut sim = one_level(1, Some((8, 2, 10)));
    sim.start("a", "ann", "g", Work::seats(1));
    sim.start("b", "bob", "g", Work::seats(1));
    let served = sim.flow.configure(Vec::new(), Vec::new(), sim.now);
    sim.note(&served);
    assert!(sim.flow.levels().any(|level| level.name == "l" && level.quiescing));
    assert_eq!(sim.start("c", "ann", "system:authenticated", Work::seats(1)).0, Started::Executing, "catch-all now");
    assert_eq!(sim.finish("a"), "b");
    sim.finish("b");
    sim.flow.adjust(sim.now);
    assert!(!sim.flow.levels().any(|level| level.name == "l"));
}

#[test]
fn the_debug_pages() {
    let mut sim = one_level(1, Some((2, 1, 10)));
    for (name, user) in [("a", "ann"), ("b", "bob"), ("c", "ann")] {
        sim.start(name, user, "g", Work::seats(1));
        sim.after(1);
    }
    sim.start("m", "root", "system:masters", Work::seats(1));
    let time = |at: Duration| format!("T{}ms", at.as_millis());
    let pages = [
        dump::priority_levels(&sim.flow),
        dump::queues(&sim.flow),
        dump::requests(&sim.flow, false, &time),
        dump::requests(&sim.flow, true, &time),
    ];
    expect![[r#"
        PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, DispatchedRequests, RejectedRequests, TimedoutRequests, CancelledRequests
        catch-all,         0,            true,   false,       0,               0,                 0,                  0,                0,                0
        exempt,            0,            false,  false,       0,               1,                 1,                  0,                0,                0
        l,                 2,            false,  false,       2,               1,                 1,                  0,                0,                0

        PriorityLevelName, Index,  PendingRequests, ExecutingRequests, SeatsInUse, NextDispatchR, InitialSeatsSum, MaxSeatsSum, TotalWorkSum
        l,                 0,      1,               1,                 1,          0.00300000ss,  1,               1,           0.00300000ss
        l,                 1,      1,               0,                 0,          0.00100000ss,  1,               1,           0.00300000ss

        PriorityLevelName, FlowSchemaName, QueueIndex, RequestIndexInQueue, FlowDistingsher, ArriveTime, InitialSeats, FinalSeats, AdditionalLatency, StartTime
        exempt,            exempt,         -1,         -1,                  ,                T3ms,       1,            0,          0s,                T3ms
        l,                 s,              0,          0,                   ann,             T2ms,       1,            0,          0s,                0001-01-01T00:00:00Z
        l,                 s,              0,          -1,                  ann,             T0ms,       1,            0,          0s,                T0ms
        l,                 s,              1,          0,                   bob,             T1ms,       1,            0,          0s,                0001-01-01T00:00:00Z

        PriorityLevelName, FlowSchemaName, QueueIndex, RequestIndexInQueue, FlowDistingsher, ArriveTime, InitialSeats, FinalSeats, AdditionalLatency, StartTime,            UserName, Verb,   APIPath,                   Namespace, Name,   APIVersion, Resource, SubResource
        exempt,            exempt,         -1,         -1,                  ,                T3ms,       1,            0,          0s,                T3ms,                 root,     list,   /api/v1/namespaces/a/pods, a,         ,       v1,         pods,     
        l,                 s,              0,          0,                   ann,             T2ms,       1,            0,          0s,                0001-01-01T00:00:00Z, ann,      list,   /api/v1/namespaces/a/pods, a,         ,       v1,         pods,     
        l,                 s,              0,          -1,                  ann,             T0ms,       1,            0,          0s,                T0ms,                 ann,      list,   /api/v1/namespaces/a/pods, a,         ,       v1,         pods,     
        l,                 s,              1,          0,                   bob,             T1ms,       1,            0,          0s,                0001-01-01T00:00:00Z, bob,      list,   /api/v1/namespaces/a/pods, a,         ,       v1,         pods,     
    "#]].assert_eq(&pages.join("\n"));
}
