//! `kontiki store` with Debian's etcdctl: a walk through its commands, members that come and go, kill -9. And
//! `kontiki server` where it serves etcd's clients, too.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use system_tests::store::{Access, Etcdctl, Store};
use system_tests::{binary, eventually};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn etcdctl_walks_through() {
    let store = Store::up();
    for etcdctl in Etcdctl::all(&store.access()) {
        println!("{}", etcdctl.ok(&["version"]).trim());
        keys(&etcdctl);
        transactions(&etcdctl);
        watches(&etcdctl);
        leases(&etcdctl);
        compaction(&etcdctl);
        cluster(&etcdctl, &store);
        maintenance(&etcdctl, &store);
        locks(&etcdctl);
        refusals(&etcdctl);
        etcdctl.ok(&["del", "", "--prefix"]);
    }
}

fn keys(etcdctl: &Etcdctl) {
    assert_eq!(etcdctl.ok(&["put", "a", "1"]), "OK\n");
    assert_eq!(etcdctl.ok(&["put", "a", "2", "--prev-kv"]), "OK\na\n1\n");
    assert_eq!(etcdctl.with_input(&["put", "b"], "from standard input"), "OK\n");
    for name in ["c", "d"] {
        etcdctl.ok(&["put", name, name]);
    }
    assert_eq!(etcdctl.ok(&["get", "a"]), "a\n2\n");
    assert_eq!(etcdctl.ok(&["get", "b", "--print-value-only"]), "from standard input\n");
    assert_eq!(etcdctl.ok(&["get", "", "--prefix", "--keys-only", "--limit", "3"]), "a\n\nb\n\nc\n\n");
    assert_eq!(etcdctl.ok(&["get", "b", "d", "--keys-only", "--order", "DESCEND", "--sort-by", "KEY"]), "c\n\nb\n\n");
    assert_eq!(etcdctl.ok(&["get", "c", "--from-key"]), "c\nc\nd\nd\n");
    let found = etcdctl.json(&["get", "a", "--consistency", "s"]);
    assert_eq!((&found["count"], &found["kvs"][0]["version"]), (&Value::from(1), &Value::from(2)));
    let then = found["kvs"][0]["create_revision"].to_string();
    assert_eq!(etcdctl.ok(&["get", "a", "--rev", &then]), "a\n1\n");
    assert_eq!(etcdctl.ok(&["del", "c", "e", "--prev-kv"]), "2\nc\nc\nd\nd\n");
    assert_eq!(etcdctl.ok(&["del", "c"]), "0\n");
}

fn transactions(etcdctl: &Etcdctl) {
    let input = "value(\"a\") = \"2\"\nmod(\"none\") = \"0\"\n\nput t then\nget a\ndel b\n\nput t else\nget b\n\n";
    assert_eq!(etcdctl.with_input(&["txn"], input), "SUCCESS\n\nOK\n\na\n2\n\n1\n");
    let again = etcdctl.with_input(&["txn"], "ver(\"b\") > \"0\"\n\nget t\n\nput t else\nget t\n\n");
    assert_eq!(again, "FAILURE\n\nOK\n\nt\nelse\n");
}

fn watches(etcdctl: &Etcdctl) {
    let from = etcdctl.json(&["put", "w/1", "x"])["header"]["revision"].to_string();
    let watch = etcdctl.follow(&["watch", "w/", "--prefix", "--rev", &from, "--prev-kv"]);
    assert_eq!(watch.lines(3), ["PUT", "w/1", "x"]);
    etcdctl.ok(&["put", "w/1", "y"]);
    assert_eq!(watch.lines(5), ["PUT", "w/1", "x", "w/1", "y"]);
    etcdctl.ok(&["del", "w/1"]);
    assert_eq!(watch.lines(5), ["DELETE", "w/1", "y", "w/1", ""]);
}

fn leases(etcdctl: &Etcdctl) {
    let granted = etcdctl.ok(&["lease", "grant", "300"]);
    let lease = granted.split_whitespace().nth(1).expect("an id");
    assert!(granted.contains("granted with TTL(300s)"), "{granted}");
    etcdctl.ok(&["put", "held", "v", "--lease", lease]);
    let left = etcdctl.ok(&["lease", "timetolive", lease, "--keys"]);
    assert!(left.contains("granted with TTL(300s), remaining(") && left.contains("attached keys([held])"), "{left}");
    assert!(etcdctl.ok(&["lease", "list"]).contains(lease));
    let kept = etcdctl.ok(&["lease", "keep-alive", "--once", lease]);
    assert!(kept.contains("keepalived with TTL(300)"), "{kept}");
    assert!(etcdctl.ok(&["lease", "revoke", lease]).contains("revoked"));
    assert_eq!(etcdctl.ok(&["get", "held"]), "");
    assert!(etcdctl.ok(&["lease", "timetolive", lease]).contains("already expired"));
}

fn compaction(etcdctl: &Etcdctl) {
    let first = etcdctl.json(&["put", "a", "3"])["header"]["revision"].as_i64().expect("a revision");
    etcdctl.ok(&["put", "a", "4"]);
    let to = (first + 1).to_string();
    assert_eq!(etcdctl.ok(&["compact", &to, "--physical"]), format!("compacted revision {to}\n"));
    let refused = etcdctl.refused(&["get", "a", "--rev", &first.to_string()]);
    assert!(refused.contains("etcdserver: mvcc: required revision has been compacted"), "{refused}");
    assert!(etcdctl.refused(&["compact", &to]).contains("required revision has been compacted"));
    assert_eq!(etcdctl.ok(&["get", "a", "--rev", &to]), "a\n4\n");
}

fn cluster(etcdctl: &Etcdctl, store: &Store) {
    let list = etcdctl.ok(&["member", "list"]);
    for replica in 1..=3u16 {
        let name = format!("replica-{replica}");
        let urls = format!("https://127.0.0.1:{}", store.client_port_base + 99 + replica);
        let line = list.lines().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("{name} in {list}"));
        assert!(line.contains("started") && line.contains(&urls) && line.contains(&store.endpoint(replica)), "{line}");
        assert!(line.ends_with("false"), "a learner: {line}");
    }
    let health = etcdctl.output(&["endpoint", "health", "--cluster"]);
    let health = String::from_utf8_lossy(&[health.stdout, health.stderr].concat()).into_owned();
    assert_eq!(health.matches("is healthy").count(), 3, "{health}");
}

fn leader(etcdctl: &Etcdctl) -> (String, u64) {
    let status = etcdctl.json(&["endpoint", "status"]);
    let leads = |one: &&Value| one["Status"]["leader"] == one["Status"]["header"]["member_id"];
    let leader = status.as_array().expect("all").iter().find(leads).expect("a leader");
    let id = leader["Status"]["leader"].as_u64().expect("an id");
    (leader["Endpoint"].as_str().expect("an endpoint").to_owned(), id)
}

fn maintenance(etcdctl: &Etcdctl, store: &Store) {
    let status = etcdctl.json(&["endpoint", "status"]);
    for one in status.as_array().expect("all").iter().map(|one| &one["Status"]) {
        assert!(one["version"].as_str().is_some_and(|version| version.contains("+kontiki.")), "{one}");
        assert!(one["dbSize"].as_i64() > Some(0) && one["raftAppliedIndex"].as_u64() > Some(0), "{one}");
    }
    assert!(etcdctl.ok(&["endpoint", "status", "-w", "table"]).contains("IS LEADER"));
    let hash = |one: &Value| one["HashKV"]["hash"].clone();
    eventually("the replicas have one hash", SOON, || {
        let hashes = etcdctl.json(&["endpoint", "hashkv"]);
        let hashes: Vec<Value> = hashes.as_array().expect("all").iter().map(hash).collect();
        (hashes.len() == 3 && hashes.iter().all(|one| *one == hashes[0])).then_some(())
    });
    assert_eq!(etcdctl.ok(&["alarm", "list"]), "");
    etcdctl.ok(&["defrag"]);
    let (endpoint, id) = leader(etcdctl);
    let file = store.dir.join("copy.db").display().to_string();
    etcdctl.at(&endpoint).ok(&["snapshot", "save", &file]);
    assert!(std::fs::metadata(&file).expect("a file").len() > 512);
    let other = if id == 1 { "2" } else { "1" };
    let moved = etcdctl.ok(&["move-leader", other]);
    assert!(moved.contains("Leadership transferred"), "{moved}");
    assert_eq!(leader(etcdctl).1.to_string(), other);
}

/// Locks and elections are made of leases, transactions and watches.
fn locks(etcdctl: &Etcdctl) {
    assert_eq!(etcdctl.ok(&["lock", "mutex", "echo", "held"]), "held\n");
    let elected = etcdctl.follow(&["elect", "office", "me"]);
    assert!(elected.lines(2)[0].starts_with("office/"));
    let observed = etcdctl.follow(&["elect", "-l", "office"]);
    assert_eq!(observed.lines(2)[1], "me");
}

fn refusals(etcdctl: &Etcdctl) {
    for (arguments, text) in [
        (&["put", "", "v"][..], "etcdserver: key is not provided"),
        (&["put", "a", "v", "--lease", "123456"], "etcdserver: requested lease not found"),
        (&["put", "none", "--ignore-value"], "etcdserver: key not found"),
        (&["get", "a", "--rev", "999999"], "etcdserver: mvcc: required revision is a future revision"),
        (&["member", "remove", "99999"], "etcdserver: member not found"),
        (&["auth", "enable"], "etcdserver: root user does not exist"),
        (&["role", "get", "nobody"], "etcdserver: role name not found"),
        (&["user", "get", "nobody"], "etcdserver: user name not found"),
    ] {
        let refused = etcdctl.refused(arguments);
        assert!(refused.contains(text), "{arguments:?}: {refused}");
    }
    assert_eq!(etcdctl.ok(&["user", "list"]), "");
}

#[test]
fn it_goes_on_after_kills_and_restarts() {
    let mut store = Store::up();
    let Some(etcdctl) = Etcdctl::all(&store.access()).pop() else { return };
    etcdctl.ok(&["put", "before", "1"]);
    let (_, id) = leader(&etcdctl);
    store.kill(&format!("replica-{id}"));
    let killed = Instant::now();
    eventually("another leads", Duration::from_secs(10), || {
        etcdctl.output(&["put", "after", "1"]).status.success().then_some(())
    });
    println!("written {:.1} s after the leader was killed", killed.elapsed().as_secs_f64());
    eventually("the killed one is back", SOON, || {
        etcdctl.at(&store.endpoint(u16::try_from(id).ok()?)).output(&["get", "after"]).status.success().then_some(())
    });
    let replicas = (1..=3).map(|number| store.pid(&format!("replica-{number}")).expect("it runs"));
    let replicas: Vec<i32> = replicas.collect();
    store.restart();
    let alive = |pid: &i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(!replicas.iter().any(alive), "they ended with the first run");
    assert_eq!(etcdctl.ok(&["get", "", "--prefix"]), "after\n1\nbefore\n1\n");
    store.end();
    let refused = store.start_otherwise(&["--replicas", "5"]);
    assert!(refused.contains("was made with --replicas 3 --client-port-base"), "{refused}");
}

/// Ended when dropped.
struct Replica(Child);

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_member_is_added_as_in_etcd_and_removed() {
    let store = Store::up();
    let Some(etcdctl) = Etcdctl::all(&store.access()).pop() else { return };
    etcdctl.ok(&["put", "a", "1"]);
    let (client, peer) = (store.client_port_base + 10, store.client_port_base + 110);
    let added = etcdctl.json(&["member", "add", "fourth", "--peer-urls", &format!("https://127.0.0.1:{peer}")]);
    let id = added["member"]["ID"].as_u64().expect("an id");
    assert!(id > 3, "{added}");

    let template = std::fs::read_to_string(store.dir.join("replica-1/store.yaml")).expect("a configuration");
    let dir = store.dir.join("fourth");
    let config: String = template
        .lines()
        .map(|line| match line.split_once(':').map_or("", |(field, _)| field) {
            "id" => format!("id: {id}\n"),
            "name" => "name: fourth\n".to_owned(),
            "dataDir" => format!("dataDir: {}\n", dir.display()),
            _ => format!("{line}\n"),
        })
        .collect();
    // The first addresses are its own; those of the others follow.
    let own = |port: u16| format!("127.0.0.1:{}", store.client_port_base + port);
    let (ours, others) = config.split_at(config.find("initialMembers").expect("members"));
    let ours = ours.replace(&own(0), &format!("127.0.0.1:{client}")).replace(&own(100), &format!("127.0.0.1:{peer}"));
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("store.yaml");
    std::fs::write(&file, format!("{ours}{others}")).expect("written");
    let log = std::fs::File::create(store.dir.join("logs/fourth.log")).expect("a log");
    let serve = Command::new(binary())
        .args(["store", "serve", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it starts");
    let mut replica = Replica(serve);

    let member = |name: &str| {
        let list = etcdctl.json(&["member", "list"]);
        list["members"].as_array()?.iter().find(|member| member["name"] == name).cloned()
    };
    let fourth = eventually("the fourth votes", SOON, || {
        member("fourth").filter(|member| member["isLearner"] != Value::Bool(true))
    });
    assert_eq!(fourth["ID"].as_u64(), Some(id));
    let there = etcdctl.at(&format!("https://127.0.0.1:{client}"));
    assert_eq!(there.ok(&["get", "a"]), "a\n1\n");
    let hexadecimal = format!("{id:x}");
    let removed = etcdctl.ok(&["member", "remove", &hexadecimal]);
    assert!(removed.contains("removed from cluster"), "{removed}");
    eventually("its process ends", SOON, || replica.0.try_wait().expect("it can be waited for"));
    assert!(member("fourth").is_none());
}

#[test]
fn strangers_and_nonsense_are_refused_and_lose_nothing() {
    let store = Store::up();
    let Some(etcdctl) = Etcdctl::all(&store.access()).pop() else { return };
    etcdctl.ok(&["put", "kept", "1"]);
    let short = ["--command-timeout=2s", "--dial-timeout=2s"];
    let refused = |access: Access, what: &str| {
        let etcdctl = Etcdctl::all(&access).pop().expect("it was there");
        let said = etcdctl.refused(&[short[0], short[1], "put", "kept", what]);
        println!("{what}: {}", said.lines().last().unwrap_or_default());
    };
    let peer = |name: &str| store.dir.join("replica-1/certificates").join(name);
    refused(
        Access { certificate: peer("peer.crt"), key: peer("peer.key"), ..store.access() },
        "a replica's certificate",
    );
    let plain = store.access().endpoints.iter().map(|url| url.replace("https", "http")).collect();
    refused(Access { endpoints: plain, ..store.access() }, "no TLS");
    let peers = (1..=3).map(|number| format!("https://127.0.0.1:{}", store.client_port_base + 99 + number)).collect();
    refused(Access { endpoints: peers, ..store.access() }, "a client at the peers' ports");
    let file = store.dir.join("large");
    std::fs::write(&file, vec![b'v'; 1_600_000]).expect("written");
    let output = etcdctl.command(&["put", "kept"]).stdin(std::fs::File::open(&file).expect("a file")).output();
    let said = String::from_utf8_lossy(&output.expect("etcdctl runs").stderr).into_owned();
    assert!(said.contains("etcdserver: request is too large"), "{said}");
    assert_eq!(etcdctl.ok(&["get", "kept"]), "kept\n1\n");
}

#[test]
fn a_server_of_the_api_serves_etcds_clients_where_it_is_asked_to() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("data");
    let port = |offset: u16| 30_000 + u16::try_from(std::process::id() % 100).unwrap_or(0) * 10 + offset;
    let log = std::fs::File::create(temporary.path().join("log")).expect("a log");
    let server = Command::new(binary())
        .args(["server", "--init", "--advertise", "127.0.0.1", "--data-dir"])
        .arg(&dir)
        .args(["--api-port", &port(0).to_string(), "--peer-port", &port(1).to_string()])
        .args(["--etcd-listen", &format!("127.0.0.1:{}", port(2))])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn();
    let _server = Replica(server.expect("it starts"));
    let certificate = |name: &str| dir.join("certificates").join(name);
    let access = || Access {
        endpoints: vec![format!("https://127.0.0.1:{}", port(2))],
        ca: dir.join("pki/etcd-ca.crt"),
        certificate: certificate("etcd-client.crt"),
        key: certificate("etcd-client.key"),
    };
    let Some(etcdctl) = Etcdctl::all(&access()).pop() else { return };
    let objects = ["get", "/", "--prefix", "--keys-only"];
    let found = eventually("the objects of the API", SOON, || {
        let output = etcdctl.output(&objects);
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success() && found.contains("kube-system")).then_some(found)
    });
    println!("{} objects", found.lines().filter(|line| !line.is_empty()).count());
    eventually("it has a name and a place", SOON, || {
        let list = etcdctl.ok(&["member", "list"]);
        (list.contains("server-1") && list.contains(&access().endpoints[0])).then_some(())
    });
    let of_the_api = Access {
        certificate: certificate("apiserver-kubelet-client.crt"),
        key: certificate("apiserver-kubelet-client.key"),
        ..access()
    };
    let stranger = Etcdctl::all(&of_the_api).pop().expect("it was there");
    stranger.refused(&["--command-timeout=2s", "--dial-timeout=2s", "get", "/"]);
}
