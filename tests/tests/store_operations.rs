//! What an operator does to a stand-alone store: with the commands that are there for `kontiki server`, too.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use system_tests::disk::SmallDisk;
use system_tests::servers::{Admin, free_port, text};
use system_tests::store::{Access, Etcdctl, Replica, Store};
use system_tests::{binary, eventually};

const PATIENCE: Duration = Duration::from_secs(120);
/// Until damage is found, unless the store is large.
const FOUND_WITHIN: Duration = Duration::from_secs(60);

fn etcdctl(access: &Access) -> Option<Etcdctl> {
    Etcdctl::all(access).pop()
}

fn run(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(binary()).args(arguments).output().expect("kontiki runs");
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The value of a key, as soon as somebody tells it.
fn value(etcdctl: &Etcdctl, key: &str) -> String {
    eventually(&format!("the value of {key}"), PATIENCE, || {
        let output = etcdctl.output(&["get", key, "--print-value-only"]);
        output.status.success().then(|| text(&output.stdout).trim().to_owned())
    })
}

fn put(etcdctl: &Etcdctl, key: &str, value: &str) {
    eventually(&format!("{key} is written"), PATIENCE, || {
        etcdctl.output(&["put", key, value]).status.success().then_some(())
    });
}

fn id_at(members: &[Value], url: &str) -> Option<u64> {
    members.iter().find(|member| member["api"] == url)?["id"].as_u64()
}

fn leader(members: &[Value]) -> u64 {
    let leader = members.iter().find(|member| member["leader"] == true);
    leader.and_then(|member| member["id"].as_u64()).expect("a leader")
}

fn restore(replica: &Replica, file: &str) -> Result<String, String> {
    let (api, peer, dir) = (replica.client_port.to_string(), replica.peer_port.to_string(), shown(&replica.dir));
    let place = ["--data-dir", &dir, "--advertise", "127.0.0.1", "--api-port", &api, "--peer-port", &peer];
    run(&[&["restore", file], &place[..]].concat())
}

#[test]
fn members_come_go_and_are_replaced() {
    let mut first = Replica::new();
    first.start(&["--init"]);
    let admin = first.admin();
    admin.wait(1);
    let second = Replica::by(&admin.ok(&["member", "add"]), &admin);
    admin.wait(2);
    let mut third = Replica::by(&admin.ok(&["member", "add"]), &admin);
    let members = admin.wait(3);
    let Some(client) = etcdctl(&first.access()) else { return };
    put(&client, "before", "1");

    // Every client may read and write; only an admin may do this.
    let kubeconfig = first.dir.join("client.kubeconfig");
    let file = "{current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: \
                {server: URL, certificate-authority: ca.crt}}], users: [{name: u, user: {client-certificate: client.crt, \
                client-key: client.key}}]}";
    fs::write(&kubeconfig, file.replace("URL", &format!("'{}'", first.url()))).expect("written");
    let refused = Admin { kubeconfig }.refused(&["member", "list"]);
    assert!(refused.contains("only members of system:masters"), "{refused}");

    // Leadership goes where it is sent, whoever is asked.
    let to = if leader(&members) == 2 { 1 } else { 2 };
    let moved = second.admin().ok(&["member", "move-leader", &to.to_string()]);
    assert_eq!(moved.trim(), format!("replica {to} leads now"));
    assert_eq!(leader(&admin.wait(3)), to);

    // The third machine is gone for good. One command on another one takes its place.
    let dead = id_at(&members, &third.url()).expect("the third");
    assert!(admin.refused(&["member", "replace", &dead.to_string()]).contains("it is not dead"));
    third.kill();
    let mut fourth = Replica::by(&second.admin().ok(&["member", "replace", &dead.to_string()]), &admin);
    let members = eventually("the dead one is replaced", PATIENCE, || {
        let found = admin.members().filter(|found| found.len() == 3)?;
        (id_at(&found, &third.url()).is_none() && id_at(&found, &fourth.url()).is_some()).then_some(found)
    });
    assert!(members.iter().all(|member| member["voter"] == true), "{members:?}");
    admin.wait(3);
    assert_eq!(value(&etcdctl(&fourth.access()).expect("it was there"), "before"), "1");

    // A learner serves reads through etcd's API, and passes writes on.
    let learner = Replica::by(&fourth.admin().ok(&["member", "add", "--learner"]), &admin);
    let members = admin.wait(4);
    let id = id_at(&members, &learner.url()).expect("the learner");
    let there = etcdctl(&learner.access()).expect("it was there");
    assert_eq!(value(&there, "before"), "1", "linearizable");
    assert_eq!(there.ok(&["get", "before", "--consistency", "s", "--print-value-only"]), "1\n");
    put(&there, "through-the-learner", "1");
    assert_eq!(value(&client, "through-the-learner"), "1");
    let status = there.json(&["endpoint", "status"]);
    assert_eq!(status[0]["Status"]["isLearner"], true, "{status}");
    // It comes back as one when its data is thrown away.
    admin.ok(&["member", "heal", &id.to_string()]);
    let id = begun_anew(&admin, 4, &learner.url(), id);
    let is_voter = |member: &Value| member["id"] == id && member["voter"] == true;
    assert!(!admin.wait(4).iter().any(is_voter), "a learner still");
    assert_eq!(value(&there, "through-the-learner"), "1");
    eventually("the learner has caught up", PATIENCE, || {
        admin.kontiki(&["member", "promote", &id.to_string()]).status.success().then_some(())
    });
    assert!(admin.wait(4).iter().all(|member| member["voter"] == true));
    admin.ok(&["member", "remove", &id.to_string()]);
    let members = admin.wait(3);
    assert!(id_at(&members, &learner.url()).is_none());

    // One that does not even start is healed on its machine.
    let before = id_at(&members, &fourth.url()).expect("the fourth");
    fourth.stop();
    fs::write(fourth.dir.join("store/state/CURRENT"), "rubbish").expect("written");
    let refused = fourth.command(&[]).stdin(Stdio::null()).output().expect("it ends");
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    let remedy = said.split_once(": kontiki ").expect("what mends it").1.trim();
    assert_eq!(remedy, format!("member heal --data-dir {}", shown(&fourth.dir)), "{said}");
    run(&remedy.split(' ').collect::<Vec<_>>()).expect("asked for");
    fourth.start(&[]);
    begun_anew(&admin, 3, &fourth.url(), before);
    assert_eq!(value(&client.at(&fourth.url()), "before"), "1");
}

/// Until a replica is another member than before, and so many are well.
fn begun_anew(admin: &Admin, replicas: usize, url: &str, before: u64) -> u64 {
    eventually("it has joined anew", PATIENCE, || {
        let members = admin.members().filter(|members| members.len() == replicas)?;
        let well = members.iter().all(|member| member["reachable"] == true && member["health"].is_null());
        id_at(&members, url).filter(|id| well && *id != before)
    })
}

/// Text that takes its length on a disk, the same for the same seed.
fn incompressible(seed: u64, length: usize) -> String {
    let mut state = seed + 1;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap_or(0))
    };
    (0..length).map(letter).collect()
}

/// Overwrites a part in the middle of every table file.
fn damage(replica_dir: &Path) -> usize {
    use std::os::unix::fs::FileExt;
    let mut damaged = 0;
    let generations = fs::read_dir(replica_dir.join("store/state")).expect("a state").flatten();
    let files = generations.filter_map(|generation| fs::read_dir(generation.path()).ok()).flatten().flatten();
    for path in files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|kind| kind == "sst")) {
        let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
        let length = file.metadata().expect("its length").len();
        file.write_all_at(&[0xa5; 512], length / 3).expect("written");
        file.sync_all().expect("synced");
        damaged += 1;
    }
    damaged
}

#[test]
fn damaged_data_is_found_fenced_off_and_healed_by_one_command() {
    let store = Store::up();
    let Some(client) = etcdctl(&store.access()) else { return };
    let admin = store.admin();
    for number in 0..40 {
        put(&client, &format!("key-{number}"), &incompressible(number, 8_000));
    }
    // Into table files.
    client.ok(&["defrag"]);
    let members = admin.wait(3);
    let bad = if leader(&members) == 3 { 2 } else { 3 };
    let url = store.endpoint(u16::try_from(bad).expect("small"));
    assert_eq!(client.ok(&["alarm", "list"]), "");
    let damaged = damage(&store.dir.join(format!("replica-{bad}")));
    assert!(damaged > 0, "nothing was there to be damaged");
    let since = Instant::now();

    let health = eventually("it is fenced off", FOUND_WITHIN, || {
        let members = admin.members()?;
        let health = members.iter().find(|member| member["id"] == bad)?["health"].as_str()?.to_owned();
        health.contains("fenced off").then_some(health)
    });
    println!("{damaged} files damaged; found after {:.1} s: {health}", since.elapsed().as_secs_f64());
    let alarm = format!("memberID:{bad} alarm:CORRUPT");
    eventually("all say so to etcd's clients", PATIENCE, || {
        let said = |replica: u16| client.at(&store.endpoint(replica)).output(&["alarm", "list"]);
        (1..=3).all(|replica| text(&said(replica).stdout).contains(&alarm)).then_some(())
    });
    let errors = client.at(&url).json(&["endpoint", "status"])[0]["Status"]["errors"].to_string();
    assert!(errors.contains(&alarm), "{errors}");
    assert!(client.refused(&["alarm", "disarm"]).contains(&format!("kontiki member heal {bad}")));
    client.at(&url).refused(&["--command-timeout=2s", "get", "key-1", "--consistency", "s"]);
    put(&client, "meanwhile", "the others go on");

    let said = admin.ok(&["member", "heal", &bad.to_string()]);
    assert!(said.contains("begins anew"), "{said}");
    let new = begun_anew(&admin, 3, &url, bad);
    assert!(new > 3, "{new}");
    assert!(store.dir.join(format!("replica-{bad}/store.damaged-{bad}")).exists(), "nothing is thrown away for good");
    assert_eq!(value(&client.at(&url), "meanwhile"), "the others go on");
    let hashes = eventually("the replicas have one hash", PATIENCE, || {
        let hashes = client.json(&["endpoint", "hashkv"]);
        let hashes: Vec<Value> = hashes.as_array()?.iter().map(|one| one["HashKV"]["hash"].clone()).collect();
        (hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0])).then_some(hashes)
    });
    println!("replica {new} in its place, hashes {hashes:?}");
    eventually("nobody complains any more", PATIENCE, || {
        let list = client.output(&["alarm", "list"]);
        (list.status.success() && list.stdout.is_empty()).then_some(())
    });
}

/// What it would have to read to apply an entry is damaged: it stays up, however often it is started, and can be told.
#[test]
fn a_replica_that_can_apply_no_more_is_healed_by_one_command() {
    const KEYS: u64 = 40;
    let mut store = Store::up();
    let Some(client) = etcdctl(&store.access()) else { return };
    let admin = store.admin();
    let put_all =
        |round: u64| (0..KEYS).for_each(|n| put(&client, &format!("key-{n}"), &incompressible(round + n, 8_000)));
    put_all(0);
    // Into table files.
    client.ok(&["defrag"]);
    admin.wait(3);
    store.end();
    let mut replicas: Vec<Replica> = (1..=3).map(|number| Replica::of(&store, number)).collect();
    assert!(damage(&replicas[2].dir) > 0, "nothing was there to be damaged");
    replicas.iter_mut().for_each(|replica| replica.start(&[]));
    let url = replicas[2].url();
    let others = client.at(&[replicas[0].url(), replicas[1].url()].join(","));
    for n in 0..KEYS {
        put(&others, &format!("key-{n}"), "small");
    }
    let fenced = || {
        let members = admin.members()?;
        let member = members.iter().find(|member| member["id"] == 3)?;
        let health = member["health"].as_str()?.to_owned();
        health.contains("fenced off").then_some(health)
    };
    let health = eventually("it is fenced off", FOUND_WITHIN, fenced);
    println!("{health}: {}", fs::read_to_string(replicas[2].dir.join("store/fenced")).expect("written down").trim());
    replicas[2].stop();
    replicas[2].start(&[]);
    eventually("it is still", PATIENCE, fenced);
    // It may be told that there is more to apply, and does not end.
    put(&others, "meanwhile", "the others go on");
    std::thread::sleep(Duration::from_secs(3));
    assert!(fenced().is_some(), "it answers");
    client.at(&url).refused(&["--command-timeout=2s", "get", "key-1", "--consistency", "s"]);

    admin.ok(&["member", "heal", "3"]);
    begun_anew(&admin, 3, &url, 3);
    assert_eq!(value(&client.at(&url), "meanwhile"), "the others go on");
}

/// What `deploy/systemd/store.env` has the unit started with: the first replica, or a further one.
fn unit_arguments(further: bool) -> Vec<String> {
    let systemd = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    let read = |name: &str| fs::read_to_string(systemd.join(name)).expect("a file of the unit");
    let unit = read("kontiki-store.service");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let expected = "/usr/local/bin/kontiki store serve --data-dir /var/lib/kontiki $KONTIKI_STORE_ARGS";
    assert_eq!(command, expected, "as the replicas of these tests are started");
    let variable = if further { "#KONTIKI_STORE_ARGS=" } else { "KONTIKI_STORE_ARGS=" };
    let environment = read("store.env");
    let arguments = environment.lines().find_map(|line| line.strip_prefix(variable)).expect("arguments");
    arguments.split(' ').map(str::to_owned).collect()
}

/// Those with the places of this test; the address is among those that all replicas of tests have.
fn placed(arguments: &[String], first: &Replica, kubeconfig: &Path) -> Vec<String> {
    let mut words = arguments.iter();
    let mut placed = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--advertise" => drop(words.next()),
            "https://10.0.0.1:2379" => placed.push(first.url()),
            "/etc/kontiki/admin.kubeconfig" => placed.push(shown(kubeconfig)),
            other => placed.push(other.to_owned()),
        }
    }
    placed
}

/// Three machines with the units of `deploy/`: they join, come back after a reboot, and their certificates and CAs are
/// replaced while they run.
#[test]
fn three_machines_run_by_their_units() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut replicas: Vec<Replica> = (0..3).map(|_| Replica::new()).collect();
    let copied = scratch.path().join("admin.kubeconfig");
    let how = |replicas: &[Replica], number: usize| placed(&unit_arguments(number > 0), &replicas[0], &copied);
    let arguments: Vec<Vec<String>> = (0..3).map(|number| how(&replicas, number)).collect();
    let start = |replica: &mut Replica, arguments: &[String]| {
        replica.start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    };
    start(&mut replicas[0], &arguments[0]);
    let admin = replicas[0].admin();
    admin.wait(1);
    fs::copy(&admin.kubeconfig, &copied).expect("copied");
    for number in [1, 2] {
        start(&mut replicas[number], &arguments[number]);
        admin.wait(number + 1);
    }
    fs::remove_file(&copied).expect("it is not needed any more");
    let Some(first) = etcdctl(&replicas[0].access()) else { return };
    let urls: Vec<String> = replicas.iter().map(Replica::url).collect();
    let client = first.at(&urls.join(","));
    put(&client, "kept", "1");

    // All machines lose power, and start again with the same words.
    replicas.iter_mut().for_each(Replica::kill);
    for (replica, arguments) in replicas.iter_mut().zip(&arguments) {
        start(replica, arguments);
    }
    admin.wait(3);
    for replica in &replicas {
        let there = etcdctl(&replica.access()).expect("it was there");
        assert_eq!(value(&there, "kept"), "1", "with the files that each machine has for clients");
    }

    let said = |arguments: &[&str]| {
        let output = admin.kontiki(arguments);
        let text = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    };
    let listed = said(&["cert", "list"]);
    for name in ["peer ", "etcd ", "client ", "ca ", "peer-ca "] {
        assert_eq!(listed.matches(&format!(" {name}")).count(), 3, "{name}: {listed}");
    }
    let shown_now =
        || replicas.iter().map(|replica| fs::read(replica.dir.join("certificates/etcd.crt")).expect("there"));
    let before: Vec<Vec<u8>> = shown_now().collect();
    let renewed = said(&["cert", "renew"]);
    assert_eq!(renewed.matches("2 certificates renewed").count(), 3, "{renewed}");
    assert!(shown_now().zip(&before).all(|(now, before)| now != *before));
    put(&client, "renewed", "1");

    let (out, dir) = (shown(&scratch.path().join("app")), shown(&replicas[2].dir));
    run(&["cert", "client", "app-1", "--out", &out, "--data-dir", &dir, "--days", "30"]).expect("made");
    let file = |name: &str| scratch.path().join("app").join(name);
    let app =
        Access { endpoints: urls.clone(), ca: file("ca.crt"), certificate: file("app-1.crt"), key: file("app-1.key") };
    assert_eq!(value(&etcdctl(&app).expect("it was there"), "renewed"), "1");

    // Of the old CA, as a machine of a client has it that nobody looks after.
    let old = |name: &str| scratch.path().join(name);
    for name in ["client.crt", "client.key"] {
        fs::copy(replicas[1].dir.join(name), old(name)).expect("copied");
    }
    said(&["cert", "rotate-ca"]);
    put(&client, "rotated", "1");
    let with_old = || {
        let ca = replicas[1].dir.join("ca.crt");
        let access = Access { endpoints: urls.clone(), ca, certificate: old("client.crt"), key: old("client.key") };
        etcdctl(&access).expect("it was there")
    };
    assert_eq!(value(&with_old(), "rotated"), "1", "both CAs are trusted");
    said(&["cert", "rotate-ca", "--finish"]);
    put(&client, "finished", "1");
    eventually("the old CA is trusted no more", PATIENCE, || {
        let output = with_old().output(&["--command-timeout=2s", "--dial-timeout=2s", "get", "kept"]);
        (!output.status.success()).then_some(())
    });
    said(&["cert", "rotate-ca", "--ca", "peer"]);
    said(&["cert", "rotate-ca", "--ca", "peer", "--finish"]);
    // Every connection among them is made anew.
    replicas.iter_mut().for_each(Replica::kill);
    for (replica, arguments) in replicas.iter_mut().zip(&arguments) {
        start(replica, arguments);
    }
    admin.wait(3);
    for (replica, key) in replicas.iter().zip(["renewed", "rotated", "finished"]) {
        assert_eq!(value(&etcdctl(&replica.access()).expect("it was there"), key), "1");
    }
}

/// Writes the same number to two keys, again and again, until it is told to stop; answers the last one.
fn write_pairs(etcdctl: &Etcdctl, stop: &AtomicBool) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        number += 1;
        etcdctl.with_input(&["txn"], &format!("\nput left {number}\nput right {number}\n\n\n"));
    }
    number
}

#[test]
fn a_backup_while_writes_go_on_is_one_moment_and_becomes_a_store() {
    let store = Store::up();
    let Some(client) = etcdctl(&store.access()) else { return };
    let admin = store.admin();
    let scratch = tempfile::tempdir().expect("a directory");
    let at = |name: &str| shown(&scratch.path().join(name));
    let stop = AtomicBool::new(false);
    let number = |name: &str| value(&client, name).parse::<u64>().unwrap_or(0);
    let (before, last) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_pairs(&client, &stop));
        let before = eventually("writes go on", PATIENCE, || Some(number("left")).filter(|number| *number > 5));
        for name in ["one", "two", "three"] {
            admin.ok(&["backup", &at(name)]);
        }
        let after = number("left");
        eventually("and on", PATIENCE, || (number("left") > after).then_some(()));
        stop.store(true, Ordering::Release);
        (before, writer.join().expect("it wrote"))
    });
    let verified = run(&["backup", "verify", &at("three")]).expect("whole");
    assert!(verified.contains("whole"), "{verified}");

    let revision = client.json(&["get", "left"])["header"]["revision"].as_u64().expect("a revision");
    let mut cuts = Vec::new();
    for name in ["one", "three"] {
        let mut new = Replica::new();
        let said = restore(&new, &at(name)).expect("restored");
        assert!(said.contains("restored: cluster ") && said.contains("kontiki store serve --data-dir"), "{said}");
        assert!(restore(&new, &at(name)).is_err_and(|why| why.contains("is not empty")));
        new.start(&[]);
        new.admin().wait(1);
        // The old store's clients know it, by its CA.
        let there = client.at(&new.url());
        let pair = ["left", "right"].map(|key| value(&there, key));
        assert_eq!(pair[0], pair[1], "written together");
        let cut: u64 = pair[0].parse().expect("a number");
        assert!((before..last).contains(&cut), "{cut} is not of the time of the backup, {before} to {last}");
        let put = there.json(&["put", "new", "1"])["header"]["revision"].as_u64().expect("a revision");
        assert!(put > revision + 900_000_000, "{put} is not ahead of all the old one can have given out");
        assert!(there.refused(&["get", "left", "--rev", &revision.to_string()]).contains("has been compacted"));
        cuts.push(cut);
    }
    assert!(cuts[0] < cuts[1], "{cuts:?}");
    println!("backups at {cuts:?} of {last} pairs, all pairs whole");
    assert!(client.ok(&["get", "new"]).is_empty(), "the old store is another one, and goes on");
}

#[test]
fn what_etcdctl_saves_becomes_a_store() {
    let store = Store::up();
    let Some(client) = etcdctl(&store.access()) else { return };
    put(&client, "kept", "1");
    let scratch = tempfile::tempdir().expect("a directory");
    let file = shown(&scratch.path().join("copy.db"));
    client.at(&store.endpoint(1)).ok(&["snapshot", "save", &file]);
    put(&client, "too-late", "1");
    assert!(run(&["backup", "verify", &file]).expect("whole").contains("copy of etcdctl"));
    let mut damaged = fs::read(&file).expect("read");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let bad = shown(&scratch.path().join("damaged.db"));
    fs::write(&bad, damaged).expect("written");
    let mut new = Replica::new();
    restore(&new, &bad).expect_err("damaged");
    assert!(!new.dir.exists(), "nothing is begun with a damaged copy");
    restore(&new, &file).expect("restored");
    new.start(&[]);
    new.admin().wait(1);
    // With keys of its own: the old ones are not in the file.
    let there = etcdctl(&new.access()).expect("it was there");
    assert_eq!((value(&there, "kept").as_str(), value(&there, "too-late").as_str()), ("1", ""));
    client.at(&new.url()).refused(&["--command-timeout=2s", "--dial-timeout=2s", "get", "kept"]);
    let second = Replica::by(&new.admin().ok(&["member", "add"]), &new.admin());
    new.admin().wait(2);
    assert_eq!(value(&etcdctl(&second.access()).expect("it was there"), "kept"), "1");
}

#[test]
fn the_survivor_that_knows_more_becomes_a_store() {
    let mut store = Store::up_with(&std::env::temp_dir(), 5);
    let Some(client) = etcdctl(&store.access()) else { return };
    put(&client, "all-have-it", "1");
    store.admin().wait(5);
    store.end();
    let mut replicas: Vec<Replica> = (1..=5).map(|number| Replica::of(&store, number)).collect();
    replicas.iter_mut().for_each(|replica| replica.start(&[]));
    let admin = store.admin();
    admin.wait(5);
    replicas[4].stop();
    put(&client, "the-fifth-lacks-it", "1");
    let there = |number: u16| client.at(&store.endpoint(number));
    eventually("the fourth has it", PATIENCE, || {
        let found = there(4).output(&["get", "the-fifth-lacks-it", "--consistency", "s", "--print-value-only"]);
        (text(&found.stdout) == "1\n").then_some(())
    });
    let recover = |number: usize, more: &[&str]| {
        let dir = shown(&store.dir.join(format!("replica-{number}")));
        run(&[&["recover", "--data-dir", &dir], more].concat())
    };
    assert!(recover(4, &[]).expect_err("it runs").contains("stop the server first"));
    assert!(recover(5, &["--yes"]).expect_err("all live").contains("5 of 5 voters are there, which is a majority"));
    replicas[..3].iter_mut().for_each(Replica::kill);

    // The fourth and the fifth are left, and the fourth knows more: whoever is asked says so.
    let refused = recover(5, &["--yes"]).expect_err("another knows more");
    let more = format!("replica 4 at {} knows more", store.endpoint(4));
    assert!(refused.contains(&more) && refused.contains("run it there"), "{refused}");
    replicas[4].start(&[]);
    replicas[3].stop();
    let said = recover(4, &[]).expect("looked at");
    assert!(said.contains("may be lost:") && said.contains("nothing was changed"), "{said}");
    let fifth = format!("replica 5 at {}: its log ends with entry", store.endpoint(5));
    assert!(
        said.contains(&fifth) && said.contains(&format!("replica 1 at {}: does not answer", store.endpoint(1))),
        "{said}"
    );
    let said = recover(4, &["--yes"]).expect("recovered");
    assert!(said.contains("recovered: cluster ") && said.contains("kontiki store serve --data-dir"), "{said}");
    replicas[4].stop();
    replicas[3].start(&[]);
    let admin = Admin { kubeconfig: store.dir.join("admin-4.kubeconfig") };
    admin.wait(1);
    for key in ["all-have-it", "the-fifth-lacks-it"] {
        assert_eq!(value(&there(4), key), "1");
    }
    put(&there(4), "new", "1");
    let further = Replica::by(&admin.ok(&["member", "add"]), &admin);
    admin.wait(2);
    assert_eq!(value(&etcdctl(&further.access()).expect("it was there"), "new"), "1");
}

/// What is left of a disk that is short: less than a replica keeps free.
const LEFT: u64 = 96 << 20;

#[test]
fn a_full_disk_turns_writes_away_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::make(3 << 30) else { return };
    let store = Store::up_in(disk.path());
    let Some(client) = etcdctl(&store.access()) else { return };
    put(&client, "old", "1");
    let refused = eventually("a write is turned away", PATIENCE, || {
        // Replicas give back what they set aside.
        disk.fill(LEFT);
        let output = client.output(&["put", "new", "1"]);
        (!output.status.success()).then(|| text(&output.stderr))
    });
    assert!(refused.contains("etcdserver: mvcc: database space exceeded"), "{refused}");
    eventually("the alarm is raised", PATIENCE, || {
        disk.fill(LEFT);
        let list = text(&client.output(&["alarm", "list"]).stdout);
        (1..=3).all(|id| list.contains(&format!("memberID:{id} alarm:NOSPACE"))).then_some(())
    });
    let errors = client.json(&["endpoint", "status"])[0]["Status"]["errors"].to_string();
    assert!(errors.contains("alarm:NOSPACE"), "{errors}");
    let disarmed = client.refused(&["alarm", "disarm"]);
    assert!(disarmed.contains("cannot be disarmed and stays until its disk has room again"), "{disarmed}");
    let health = client.output(&["endpoint", "health"]);
    println!("{}", text(&[health.stdout, health.stderr].concat()).trim());
    // What makes room goes on, and so do reads.
    assert_eq!(value(&client, "old"), "1");
    let deleted = client.json(&["del", "old"])["header"]["revision"].to_string();
    client.ok(&["compact", &deleted]);

    disk.free();
    let since = Instant::now();
    put(&client, "new", "1");
    println!("written {:.1} s after there was room again", since.elapsed().as_secs_f64());
    eventually("the alarm is gone", PATIENCE, || {
        let list = client.output(&["alarm", "list"]);
        (list.status.success() && list.stdout.is_empty()).then_some(())
    });
    assert_eq!(client.ok(&["alarm", "disarm"]), "", "nothing is left to disarm");
}

#[test]
fn what_a_newer_version_wrote_is_refused_untouched() {
    let mut store = Store::up_with(&std::env::temp_dir(), 1);
    let Some(client) = etcdctl(&store.access()) else { return };
    put(&client, "kept", "1");
    store.end();
    let mut replica = Replica::of(&store, 1);
    let refused = |file: &str, from: &str, to: &str| {
        let file = replica.dir.join("store").join(file);
        let before = fs::read_to_string(&file).expect("read");
        assert!(before.contains(from), "{before}");
        fs::write(&file, before.replacen(from, to, 1)).expect("written");
        let output = replica.command(&[]).stdin(Stdio::null()).output().expect("it ends");
        assert!(!output.status.success());
        fs::write(&file, before).expect("written");
        text(&output.stderr)
    };
    let said = refused("identity.json", "\"format\": 1", "\"format\": 2");
    assert!(said.contains("was written by a newer version (identity format 2)"), "{said}");
    for (file, what, newest) in [("state/FORMAT", "kontiki state", 5), ("log/FORMAT", "kontiki raft log", 2)] {
        let newer = format!("{what} {}", newest + 1);
        let said = refused(file, &format!("{what} {newest}"), &newer);
        assert!(
            said.contains(&format!("its format is {newer:?}")) && said.contains("use the version it is from"),
            "{said}"
        );
    }
    replica.start(&[]);
    assert_eq!(value(&client.at(&replica.url()), "kept"), "1", "untouched");
}

/// Debian's etcd; ended when dropped.
struct Etcd {
    process: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Etcd {
    /// `None` with a clear word where `ETCD` names no program.
    fn start() -> Option<Self> {
        let program = system_tests::programs::named("ETCD")?;
        let dir = tempfile::tempdir().expect("a directory");
        let (url, peer) = (format!("http://127.0.0.1:{}", free_port()), format!("http://127.0.0.1:{}", free_port()));
        let process = Command::new(program)
            .args(["--name", "real", "--data-dir"])
            .arg(dir.path().join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("real={peer}")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Some(Self { process: process.expect("it starts"), url, _dir: dir })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_keys_of_a_live_etcd_become_a_store() {
    let Some(etcd) = Etcd::start() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    // It asks nobody for a certificate.
    let nothing = scratch.path().join("absent");
    let access =
        Access { endpoints: vec![etcd.url.clone()], ca: nothing.clone(), certificate: nothing.clone(), key: nothing };
    let Some(client) = etcdctl(&access).map(Etcdctl::without_tls) else { return };
    put(&client, "a", "1");
    for first in (0..450).step_by(90) {
        let puts: String = (first..first + 90).map(|n| format!("put /registry/{n:04} value-{n}\n")).collect();
        client.with_input(&["txn"], &format!("\n{puts}\n\n"));
    }
    client.with_input(&["put", "large"], &"x".repeat(1 << 20));
    let granted = client.ok(&["lease", "grant", "3600"]);
    let lease = granted.split_whitespace().nth(1).expect("an id");
    client.ok(&["put", "leased", "v", "--lease", lease]);
    client.ok(&["del", "a"]);
    let revision = client.json(&["put", "a", "2"])["header"]["revision"].as_u64().expect("a revision");

    let mut new = Replica::new();
    let (api, peer, dir) = (new.client_port.to_string(), new.peer_port.to_string(), shown(&new.dir));
    let place = ["--data-dir", &dir, "--advertise", "127.0.0.1", "--api-port", &api, "--peer-port", &peer];
    let import = |more: &[&str]| run(&[&["store", "import", &etcd.url], &place[..], more].concat());
    let said = import(&[]).expect("imported");
    println!("{said}");
    assert!(
        said.contains(&format!("453 keys at revision {revision}")) && said.contains("the same as were read"),
        "{said}"
    );
    assert!(said.contains("leases were not copied: 1 keys that had one stay"), "{said}");
    assert!(import(&[]).is_err_and(|why| why.contains("is not empty")));

    new.start(&[]);
    new.admin().wait(1);
    let there = etcdctl(&new.access()).expect("it was there");
    let all = ["get", "", "--prefix"];
    assert!(there.ok(&all) == client.ok(&all), "all keys and values");
    let found = there.json(&["get", "leased"]);
    assert!(found["kvs"][0]["lease"].is_null(), "{found}");
    let at = found["header"]["revision"].as_u64().expect("a revision");
    assert!(at > revision + 900_000_000, "{at} is not ahead of {revision}");
    assert!(there.refused(&["get", "a", "--rev", &revision.to_string()]).contains("has been compacted"));
    // Its files are etcd's own.
    let file = shown(&scratch.path().join("etcd.db"));
    client.ok(&["snapshot", "save", &file]);
    let why = restore(&Replica::new(), &file).expect_err("of etcd");
    assert!(why.contains("a snapshot of etcd itself") && why.contains("kontiki store import"), "{why}");
    let nobody = Replica::new();
    let dir = shown(&nobody.dir);
    run(&["store", "import", "http://127.0.0.1:1", "--data-dir", &dir, "--advertise", "127.0.0.1"])
        .expect_err("nobody");
    assert!(!nobody.dir.exists());
}
