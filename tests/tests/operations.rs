//! What an operator does to a cluster, with the commands that are there for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::Value;
use system_tests::bucket::{self, Faults, Service};
use system_tests::disk::SmallDisk;
use system_tests::servers::{Server, free_port, text};
use system_tests::{binary, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

async fn maps(server: &Server) -> Api<ConfigMap> {
    let client: Client = chaos::client(&server.kubeconfig()).await.expect("a client");
    Api::namespaced(client, "default")
}

/// Writes a ConfigMap, as soon as there is somebody to take it; answers its resource version.
async fn write(server: &Server, name: &str) -> u64 {
    let maps = maps(server).await;
    let data = BTreeMap::from([("of".to_owned(), name.to_owned())]);
    let mut map = ConfigMap { data: Some(data), ..ConfigMap::default() };
    map.metadata.name = Some(name.to_owned());
    let started = Instant::now();
    loop {
        match maps.create(&PostParams::default(), &map).await {
            Ok(made) => return revision(made.metadata.resource_version),
            Err(kube::Error::Api(status)) if status.code == 409 => panic!("{name} is there"),
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn revision(text: Option<String>) -> u64 {
    text.and_then(|text| text.parse().ok()).expect("a resource version")
}

/// The names of those written, and the revision of the list.
async fn read(server: &Server) -> (Vec<String>, u64) {
    let maps = maps(server).await;
    let started = Instant::now();
    loop {
        match maps.list(&ListParams::default()).await {
            Ok(list) => {
                let names = list.items.into_iter().filter_map(|map| map.metadata.name);
                let names = names.filter(|name| name != "kube-root-ca.crt").collect();
                return (names, revision(list.metadata.resource_version));
            }
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The code of the error that a watch from there begins with.
async fn first_of_watch(server: &Server, revision: u64) -> u16 {
    let maps = maps(server).await;
    let first = match maps.watch(&WatchParams::default(), &revision.to_string()).await {
        Ok(watch) => Box::pin(watch).try_next().await,
        Err(error) => Err(error),
    };
    match first {
        Ok(Some(WatchEvent::Error(status))) => status.code,
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("{other:?}"),
    }
}

fn ids(members: &[Value]) -> Vec<u64> {
    let mut ids: Vec<u64> = members.iter().filter_map(|member| member["id"].as_u64()).collect();
    ids.sort_unstable();
    ids
}

fn leader(members: &[Value]) -> u64 {
    let leader = members.iter().find(|member| member["leader"] == true);
    leader.and_then(|member| member["id"].as_u64()).expect("a leader")
}

fn run(arguments: &[&str]) -> Result<String, String> {
    outcome(Command::new(binary()).args(arguments))
}

fn outcome(command: &mut Command) -> Result<String, String> {
    let output = command.output().expect("kontiki runs");
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Three replicas of one cluster, all of them well.
fn three() -> [Server; 3] {
    let first = Server::init();
    let second = Server::by(&first.ok(&["member", "add"]));
    first.wait(2);
    let third = Server::by(&first.ok(&["member", "add"]));
    first.wait(3);
    [first, second, third]
}

#[test]
fn members_come_go_and_are_replaced() {
    let runtime = runtime();
    let [first, second, mut third] = three();
    runtime.block_on(write(&first, "before"));
    let ids_before = ids(&first.wait(3));

    // Leadership goes where it is sent, whoever is asked.
    let to = if leader(&first.wait(3)) == 2 { 1 } else { 2 };
    assert_eq!(second.ok(&["member", "move-leader", &to.to_string()]).trim(), format!("replica {to} leads now"));
    assert_eq!(leader(&first.wait(3)), to);
    assert!(first.refused(&["member", "move-leader", "77"]).contains("there is no replica 77"));

    // The third machine is gone for good. One command on another one takes its place.
    let dead = ids_before.last().expect("three").to_owned();
    assert!(first.refused(&["member", "replace", &dead.to_string()]).contains("it is not dead"));
    third.kill();
    drop(third);
    let printed = second.ok(&["member", "replace", &dead.to_string()]);
    let fourth = Server::by(&printed);
    let members = eventually("the dead one is replaced", PATIENCE, || {
        first.members().filter(|found| found.len() == 3 && !ids(found).contains(&dead))
    });
    assert!(members.iter().all(|member| member["voter"] == true), "{members:?}");
    fourth.wait(3);
    runtime.block_on(async {
        assert_eq!(read(&fourth).await.0, ["before"]);
    });

    // A learner serves reads, and passes writes on.
    let learner = Server::by(&fourth.ok(&["member", "add", "--learner"]));
    let members = learner.wait(4);
    let id = *ids(&members).last().expect("four");
    let is_voter = |members: &[Value]| members.iter().any(|member| member["id"] == id && member["voter"] == true);
    assert!(!is_voter(&members), "{members:?}");
    runtime.block_on(async {
        write(&learner, "through-the-learner").await;
        assert_eq!(read(&learner).await.0, ["before", "through-the-learner"]);
    });
    assert!(first.refused(&["member", "move-leader", &id.to_string()]).contains("only a member that votes"));
    let promoted = eventually("the learner has caught up", PATIENCE, || {
        let output = first.kontiki(&["member", "promote", &id.to_string()]);
        output.status.success().then(|| text(&output.stdout))
    });
    assert_eq!(promoted.trim(), format!("replica {id} votes now"));
    assert!(is_voter(&first.wait(4)));
    assert!(first.refused(&["member", "promote", &id.to_string()]).contains("votes already"));

    let gone = learner;
    first.ok(&["member", "remove", &id.to_string()]);
    assert!(!ids(&first.wait(3)).contains(&id));
    assert!(first.refused(&["member", "remove", &id.to_string()]).contains("there is no replica"));
    drop(gone);
}

#[test]
fn a_backup_becomes_a_cluster() {
    let runtime = runtime();
    let old = Server::init();
    let scratch = tempfile::tempdir().expect("a directory");
    let at = |name: &str| shown(&scratch.path().join(name));
    let revision = runtime.block_on(write(&old, "kept"));
    std::fs::write(at("key"), "0123456789abcdef0123456789abcdef\n").expect("a key");
    std::fs::write(at("other-key"), "fedcba9876543210fedcba9876543210\n").expect("a key");

    let (plain, sealed) = (at("plain"), at("sealed"));
    let said = old.ok(&["backup", &plain]);
    assert!(said.contains("is written: cluster ") && said.contains("keep it where only admins can read it"), "{said}");
    old.ok(&["backup", &sealed, "--key-file", &at("key")]);
    runtime.block_on(write(&old, "too-late"));
    assert!(old.refused(&["backup", &plain]).contains("exists already"));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&sealed).expect("the backup").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let verified = run(&["backup", "verify", &plain]).expect("whole");
    assert!(verified.contains("whole"), "{verified}");
    run(&["backup", "verify", &sealed, "--key-file", &at("key")]).expect("whole");
    assert!(run(&["backup", "verify", &sealed]).is_err_and(|why| why.contains("--key-file")));
    let wrong = run(&["backup", "verify", &sealed, "--key-file", &at("other-key")]);
    assert!(wrong.is_err_and(|why| why.contains("another key")));
    let mut content = std::fs::read(&plain).expect("read");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(at("damaged"), content).expect("written");
    let damaged = run(&["backup", "verify", &at("damaged")]).expect_err("damaged");
    assert!(damaged.contains(&at("damaged")), "{damaged}");

    let mut new = Server::new();
    let (api, peer, dir) = (new.api_port.to_string(), new.peer_port.to_string(), shown(&new.dir));
    let restore = |file: &str, more: &[&str]| {
        let arguments = ["restore", file, "--data-dir", &dir, "--advertise", "127.0.0.1"];
        run(&[&arguments[..], &["--api-port", &api, "--peer-port", &peer][..], more].concat())
    };
    assert!(restore(&at("damaged"), &[]).is_err());
    assert!(!new.dir.join("server.yaml").exists(), "nothing is begun with a damaged backup");
    let said = restore(&sealed, &["--key-file", &at("key")]).expect("restored");
    assert!(said.contains("restored: cluster "), "{said}");
    assert!(restore(&sealed, &["--key-file", &at("key")]).is_err_and(|why| why.contains("is not empty")));

    new.start(&[]);
    new.wait(1);
    runtime.block_on(async {
        let (names, newest) = read(&new).await;
        assert_eq!(names, ["kept"], "one moment of the old cluster");
        assert!(newest >= revision + 1_000_000_000, "{newest} is not ahead of all the old one can have given out");
        // Whoever watched there is told to list anew.
        assert_eq!(first_of_watch(&new, revision).await, 410);
        write(&new, "new").await;
    });
    // The old cluster goes on, and is another one.
    let id = |server: &Server| -> Value {
        let status: Value = serde_json::from_str(&server.ok(&["status", "-o", "json"])).expect("JSON");
        status["clusterID"].clone()
    };
    assert_ne!(id(&old), id(&new));
    // Others join it.
    let second = Server::by(&new.ok(&["member", "add"]));
    new.wait(2);
    let third = Server::by(&new.ok(&["member", "add"]));
    new.wait(3);
    for server in [&second, &third] {
        runtime.block_on(async { assert_eq!(read(server).await.0, ["kept", "new"]) });
    }
}

/// A command with the account of a bucket, or with another secret.
fn with_bucket(service: &Service, secret: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(binary());
    command.args(arguments).args(["--s3-endpoint", &service.endpoint(), "--s3-ca-file", &shown(&service.ca_file)]);
    command.env("AWS_ACCESS_KEY_ID", bucket::ACCESS_KEY_ID).env("AWS_SECRET_ACCESS_KEY", secret);
    outcome(command.env("AWS_REGION", bucket::REGION))
}

#[test]
fn a_backup_in_a_bucket_becomes_a_cluster() {
    let runtime = runtime();
    let (old, service) = (Server::init(), Service::start());
    let kubeconfig = shown(&old.kubeconfig());
    runtime.block_on(write(&old, "kept"));
    let own = |arguments: &[&str]| with_bucket(&service, bucket::SECRET_ACCESS_KEY, arguments);
    let backup = |name: &str| own(&["backup", name, "--kubeconfig", &kubeconfig]);

    service.misbehave(Faults { busy: 2, ..Faults::default() });
    let said = backup("s3://backups/prod/monday").expect("it waits while the service is busy");
    assert!(said.starts_with("s3://backups/prod/monday is written: cluster ") && said.contains("whole"), "{said}");
    assert_eq!(service.objects(), ["backups/prod/monday"]);
    assert!(own(&["backup", "verify", "s3://backups/prod/monday"]).expect("whole").contains("whole"));

    let refused = |why: Result<String, String>, part: &str| {
        let why = why.expect_err("it is refused");
        assert!(why.contains(part), "{why}");
    };
    refused(backup("s3://backups/prod/monday"), "s3://backups/prod/monday exists already; name another");
    let stranger = ["backup", "verify", "s3://backups/prod/monday"];
    refused(with_bucket(&service, "guessed", &stranger), "403: SignatureDoesNotMatch");
    refused(own(&["backup", "verify", "s3://backups/none"]), "404: NoSuchKey: The specified key does not exist.");
    // What cannot be sent, or read back, leaves nothing.
    service.misbehave(Faults { full: 1, ..Faults::default() });
    refused(backup("s3://backups/full"), "403: QuotaExceeded: The bucket is full.");
    service.misbehave(Faults { damage: 1, ..Faults::default() });
    refused(backup("s3://backups/damaged"), "s3://backups/damaged");
    assert_eq!((service.objects(), service.open_uploads()), (vec!["backups/prod/monday".to_owned()], 0));

    let mut new = Server::new();
    let (api, peer, dir) = (new.api_port.to_string(), new.peer_port.to_string(), shown(&new.dir));
    let place = ["--data-dir", &dir, "--advertise", "127.0.0.1", "--api-port", &api, "--peer-port", &peer];
    let said = own(&[&["restore", "s3://backups/prod/monday"], &place[..]].concat()).expect("restored");
    assert!(said.contains("restored: cluster "), "{said}");
    new.start(&[]);
    new.wait(1);
    assert_eq!(runtime.block_on(read(&new)).0, ["kept"]);

    service.damage("backups/prod/monday");
    refused(own(&["backup", "verify", "s3://backups/prod/monday"]), "s3://backups/prod/monday");
}

#[test]
fn a_survivor_of_a_lost_quorum_becomes_a_cluster() {
    let runtime = runtime();
    let [mut first, mut second, mut third] = three();
    let revision = runtime.block_on(write(&first, "kept"));
    // Wherever it leads, the first one has it.
    eventually("the first replica has it", PATIENCE, || {
        let members = first.members()?;
        members.iter().all(|member| member["lag"] == 0).then_some(())
    });
    let dir = shown(&first.dir);
    let running = run(&["recover", "--data-dir", &dir]).expect_err("it runs");
    assert!(running.contains("stop the server first"), "{running}");
    first.stop();
    let unneeded = run(&["recover", "--data-dir", &dir, "--yes"]).expect_err("two others live");
    assert!(unneeded.contains("which is a majority"), "{unneeded}");
    second.kill();
    third.kill();
    let said = run(&["recover", "--data-dir", &dir]).expect("looked at");
    assert!(said.contains("may be lost:") && said.contains("nothing was changed"), "{said}");
    let said = run(&["recover", "--data-dir", &dir, "--yes"]).expect("recovered");
    assert!(said.contains("recovered: cluster "), "{said}");
    first.start(&[]);
    first.wait(1);
    runtime.block_on(async {
        let (names, newest) = read(&first).await;
        assert_eq!(names, ["kept"]);
        assert!(newest > revision + 1_000_000_000);
        write(&first, "new").await;
    });
    let fresh = Server::by(&first.ok(&["member", "add"]));
    first.wait(2);
    runtime.block_on(async { assert_eq!(read(&fresh).await.0, ["kept", "new"]) });
}

#[test]
fn a_damaged_replica_is_healed_by_one_command() {
    let runtime = runtime();
    let [first, second, mut third] = three();
    runtime.block_on(write(&first, "kept"));
    let members = first.wait(3);
    let api = format!("https://127.0.0.1:{}", third.api_port);
    let id = members.iter().find(|member| member["api"] == *api).and_then(|member| member["id"].as_u64()).expect("it");

    // What a replica writes down when it has found that its data is wrong.
    third.stop();
    std::fs::write(third.dir.join("store/fenced"), "its state differs\n").expect("written");
    third.start(&[]);
    let health = eventually("it says that it is fenced off", PATIENCE, || {
        let members = first.members()?;
        let health = members.iter().find(|member| member["id"] == id)?["health"].as_str()?.to_owned();
        health.contains("fenced off").then_some(health)
    });
    println!("{health}");
    assert!(first.refused(&["member", "heal", "77"]).contains("there is no replica 77"));
    let pid = third.pid();
    let said = second.ok(&["member", "heal", &id.to_string()]);
    assert!(said.contains("begins anew"), "{said}");
    let healed = eventually("it has joined anew", PATIENCE, || {
        let members = first.members()?;
        let well = members.iter().all(|member| member["reachable"] == true && member["health"].is_null());
        let new = members.iter().find(|member| member["api"] == *api)?["id"].as_u64()?;
        (members.len() == 3 && well && new != id).then_some(new)
    });
    assert!(healed > 3);
    assert_eq!(third.pid(), pid, "the same process, from its beginning");
    assert!(third.dir.join(format!("store.damaged-{id}")).exists(), "nothing is thrown away for good");
    runtime.block_on(async { assert_eq!(read(&third).await.0, ["kept"]) });

    // And when it does not even start: on its machine.
    third.stop();
    std::fs::write(third.dir.join("store/state/CURRENT"), "rubbish").expect("written");
    let dir = shown(&third.dir);
    let server = format!("https://127.0.0.1:{}", second.api_port);
    run(&["member", "heal", "--data-dir", &dir, "--server", &server]).expect("asked for");
    third.start(&[]);
    let again = eventually("it has joined once more", PATIENCE, || {
        let members = first.members()?;
        let well = members.iter().all(|member| member["reachable"] == true && member["health"].is_null());
        let new = members.iter().find(|member| member["api"] == *api)?["id"].as_u64()?;
        (members.len() == 3 && well && new != healed).then_some(new)
    });
    assert!(again > healed);
}

/// Ports on which a process listens.
fn listening(pid: u32) -> Vec<u16> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").flatten();
    let links = descriptors.filter_map(|one| std::fs::read_link(one.path()).ok());
    let sockets: Vec<String> =
        links.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.to_owned())).collect();
    let table = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let tables = table("tcp") + &table("tcp6");
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // 0A is LISTEN.
        let ours = fields.get(3) == Some(&"0A") && sockets.contains(&format!("{}]", fields.get(9)?));
        u16::from_str_radix(fields[1].rsplit_once(':')?.1, 16).ok().filter(|_| ours)
    };
    let mut ports: Vec<u16> = tables.lines().filter_map(port).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn etcds_clients_are_served_only_where_that_is_asked_for() {
    let mut server = Server::init();
    let mut own = vec![server.api_port, server.peer_port];
    own.sort_unstable();
    assert_eq!(listening(server.pid()), own, "no port for etcd's clients");
    assert!(!server.dir.join("pki/etcd-ca.crt").exists() && !server.dir.join("certificates/etcd-client.crt").exists());
    server.stop();
    let port = free_port();
    server.start(&["--etcd-listen", &format!("127.0.0.1:{port}")]);
    server.wait(1);
    let found = eventually("it listens", PATIENCE, || Some(listening(server.pid())).filter(|found| found.len() == 3));
    assert!(found.contains(&port), "{found:?}");
}

#[test]
fn leadership_comes_back_to_the_preferred_zone() {
    let mut first = Server::new();
    first.start(&["--init", "--zone", "b", "--leader-zones", "a,b"]);
    first.wait(1);
    let mut second = Server::by(&first.ok(&["member", "add"]));
    first.wait(2);
    second.stop();
    second.start(&["--zone", "a", "--leader-zones", "a,b"]);
    let members = first.wait(2);
    let zone = |members: &[Value], id: u64| {
        members.iter().find(|member| member["id"] == id).map(|member| member["zone"].clone())
    };
    assert_eq!((zone(&members, 1), zone(&members, 2)), (Some("b".into()), Some("a".into())));
    let handed_over = |to: u64| {
        let since = Instant::now();
        eventually("the replica in the preferred zone leads", PATIENCE, || {
            let members = first.members()?;
            members.iter().any(|member| member["id"] == to && member["leader"] == true).then_some(())
        });
        since.elapsed().as_secs_f64()
    };
    // Wherever it begins, and wherever somebody sends it.
    let begun = handed_over(2);
    first.ok(&["member", "move-leader", "1"]);
    assert_eq!(leader(&first.wait(2)), 1);
    println!("in zone a after {begun:.1} s, and back there after {:.1} s", handed_over(2));
}

/// What is left of a disk that is short: less than a replica keeps free.
const LEFT: u64 = 96 << 20;

#[test]
fn a_full_disk_answers_507_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::make(2 << 30) else { return };
    let mut server = Server::new_in(disk.path());
    server.start(&["--init"]);
    server.wait(1);
    let runtime = runtime();
    runtime.block_on(write(&server, "old"));
    let maps = runtime.block_on(maps(&server));
    let mut number = 0;
    let refused = eventually("a write is turned away", PATIENCE, || {
        // A replica gives back what it set aside.
        disk.fill(LEFT);
        number += 1;
        let mut map = ConfigMap::default();
        map.metadata.name = Some(format!("new-{number}"));
        match runtime.block_on(maps.create(&PostParams::default(), &map)) {
            Err(kube::Error::Api(status)) => Some(status),
            Err(_) | Ok(_) => None,
        }
    });
    assert_eq!((refused.code, refused.reason.as_str()), (507, "InsufficientStorage"), "{}", refused.message);
    assert!(refused.message.contains("delete objects, or free some of it"), "{}", refused.message);
    // What makes room goes on, and so do reads.
    runtime.block_on(async {
        maps.delete("old", &DeleteParams::default()).await.expect("deleted");
        assert!(!read(&server).await.0.contains(&"old".to_owned()));
    });
    disk.free();
    let since = Instant::now();
    runtime.block_on(write(&server, "afterwards"));
    println!("written {:.1} s after there was room again", since.elapsed().as_secs_f64());
}
