//! A replica whose data is damaged begins anew: with an empty store, under a number that was never used, in the
//! place of the member it was. Nobody can take it for that one, which forgot what it had promised.
//!
//! That it is to be done is in a file of the data directory, so that it goes on after a crash at any step; the old
//! store stays beside the new one until somebody removes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store_api::Store;
use store_node::RaftStore;
use tokio_util::sync::CancellationToken;

use super::joining::{self, Pending};
use crate::Failure;
use crate::client::Client;
use crate::config;
use crate::installed::{Installed, api_of};
use crate::known;
use crate::kubeconfig::Kubeconfig;

/// Until an admin has the answer before the process stops.
const ANSWER_FIRST: Duration = Duration::from_millis(500);
/// While no other replica gives out a number.
const ASK_PAUSE: Duration = Duration::from_secs(1);
const ASK_TRIES: u32 = 60;
/// Until the process before this one has let go of the store.
const LOCK_PAUSE: Duration = Duration::from_millis(100);
const LOCK_TRIES: u32 = 100;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    /// `https://HOST:PORT` of the other replicas.
    servers: Vec<String>,
    /// The new number, once it is given out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("heal.yaml")
}

pub(crate) fn is_wanted(data_dir: &Path) -> bool {
    file(data_dir).exists()
}

/// The next start of the replica carries it out.
pub(crate) fn request(data_dir: &Path, servers: Vec<String>) -> Result<(), Failure> {
    if servers.is_empty() {
        return Err(
            "it is the only replica, nobody else has the data; restore a backup instead: kontiki restore".into()
        );
    }
    match is_wanted(data_dir) {
        true => Ok(()),
        false => config::write(&file(data_dir), &Wanted { servers, id: None }),
    }
}

/// This replica, when `id` is its own, throws its data away and joins anew; it stops a moment after the answer.
pub(crate) fn begin(
    id: u64,
    config: &dyn Installed,
    store: &RaftStore,
    stop: &CancellationToken,
) -> Result<(), String> {
    if id != config.id() {
        return Err(format!("this is replica {}, not {id}", config.id()));
    }
    let status = store.status();
    let others = status.members.iter().filter(|member| member.id != id);
    let servers: Vec<String> = others.map(api_of).collect();
    request(config.data_dir(), servers).map_err(|error| error.to_string())?;
    tracing::warn!("asked to begin anew as a new member; stopping for that");
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(ANSWER_FIRST).await;
        stop.cancel();
    });
    Ok(())
}

/// The API addresses of the other replicas, as far as this one's files say.
pub(crate) fn others(config: &dyn Installed) -> Vec<String> {
    let store = config.data_dir().join("store");
    let of = |members: Vec<(u64, String)>| {
        let others = members.into_iter().filter(|(id, api)| *id != config.id() && !api.is_empty());
        others.map(|(_, api)| api).collect::<Vec<_>>()
    };
    let mut servers = match store_node::anew::inspect(&store) {
        Ok(survivor) => of(survivor.members.into_iter().map(|(id, api, _)| (id, api)).collect()),
        Err(error) => {
            tracing::debug!(%error, "the store says nothing of the others");
            Some(known::read(config.data_dir()))
                .filter(|known| !known.is_empty())
                .unwrap_or_else(|| of(config.founders()))
        }
    };
    if let Ok(pending) = joining::read(config.data_dir()) {
        servers.push(pending.server);
    }
    servers.dedup();
    servers
}

/// Does what was asked for, if anything; the configuration is then that of the new member.
pub(crate) async fn carry_out(config: &mut dyn Installed, config_file: &Path) -> Result<(), Failure> {
    let path = file(config.data_dir());
    if !path.exists() {
        return Ok(());
    }
    let mut wanted: Wanted = config::read(&path)?;
    if wanted.id != Some(config.id()) {
        let client = admin_client(config)?;
        let (server, id, voter) = new_number(config, &client, &wanted).await?;
        wanted.id = Some(id);
        config::write(&path, &wanted)?;
        begin_anew(config, config_file, &server, id, voter).await?;
    }
    std::fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

async fn begin_anew(
    config: &mut dyn Installed,
    config_file: &Path,
    server: &str,
    id: u64,
    voter: bool,
) -> Result<(), Failure> {
    let store = config.data_dir().join("store");
    wait_until_free(&store).await?;
    let aside = config.data_dir().join(format!("store.damaged-{}", config.id()));
    if store.exists() {
        std::fs::rename(&store, &aside).map_err(|error| format!("cannot move {} away: {error}", store.display()))?;
        tracing::warn!(old = %aside.display(), "the damaged store is kept; remove it when you do not need it");
    }
    forget_member(config.data_dir())?;
    let ca = std::fs::read_to_string(config.pki_dir().join("ca.crt"))?;
    let pending = Pending { server: server.to_owned(), ca, token: None, learner: !voter, replaces: Some(config.id()) };
    joining::write(config.data_dir(), &pending)?;
    config.become_member(id, voter, None);
    config.write(config_file)
}

/// What says who this replica was, besides its store: the file by which a lost store is noticed, and the certificate.
pub(crate) fn forget_member(data_dir: &Path) -> Result<(), Failure> {
    let certificates = data_dir.join("certificates");
    for path in [data_dir.join("store.member"), certificates.join("peer.crt"), certificates.join("peer.key")] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", path.display()).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Who gave out the number, the number, and whether the member was a voter.
async fn new_number(config: &dyn Installed, client: &Client, wanted: &Wanted) -> Result<(String, u64, bool), Failure> {
    let mut last = Failure::from("no other replica is known");
    for _ in 0..ASK_TRIES {
        for server in &wanted.servers {
            match ask(config, &client.at(server), wanted.id).await {
                Ok((id, voter)) => return Ok((server.clone(), id, voter)),
                Err(error) => last = error,
            }
        }
        tracing::info!(error = %last, "no other replica gives out a number yet; asking again");
        tokio::time::sleep(ASK_PAUSE).await;
    }
    Err(format!("no other replica gives out a number to begin anew with: {last}").into())
}

async fn ask(config: &dyn Installed, client: &Client, given: Option<u64>) -> Result<(u64, bool), Failure> {
    let status = client.get("/kontiki/v1/status").await?.ok()?;
    if status["clusterID"].as_str() != Some(config.cluster_id()) {
        return Err(format!("{} belongs to another cluster, {}", client.server, status["clusterID"]).into());
    }
    let voter = was_voter(&status, config.id());
    if let Some(id) = given {
        return Ok((id, voter));
    }
    let answer = client.post("/kontiki/v1/join/server", &json!({})).await?.ok()?;
    Ok((answer["id"].as_u64().ok_or("the server sent no id")?, voter))
}

/// One that is no member any more comes back as a voter, what most are.
fn was_voter(status: &Value, id: u64) -> bool {
    let mut members = status["members"].as_array().into_iter().flatten();
    members.find(|member| member["id"] == id).is_none_or(|member| member["voter"] != false)
}

/// With the right of whoever has the CA's key.
pub(crate) fn admin_client(config: &dyn Installed) -> Result<Client, Failure> {
    let read = |name: &str| std::fs::read_to_string(config.pki_dir().join(name));
    let (ca_pem, key) = (read("ca.crt")?, read("ca.key")?);
    let authority = pki::authority::Authority::from_pem(&ca_pem, &key)?;
    let request = pki::authority::Request {
        common_name: "kubernetes-admin".into(),
        organizations: vec!["system:masters".into()],
        client: true,
        days: 1,
        ..Default::default()
    };
    let issued = authority.issue(&request, crate::now())?;
    Client::new(&Kubeconfig {
        server: config.api_url(),
        ca_pem,
        certificate_pem: issued.certificate_pem,
        key_pem: issued.key_pem,
    })
}

/// Nobody may have the store open while it is moved.
async fn wait_until_free(store: &Path) -> Result<(), Failure> {
    for _ in 0..LOCK_TRIES {
        if is_free(store)? {
            return Ok(());
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(in_use(store))
}

fn in_use(store: &Path) -> Failure {
    format!("a process has {} open: stop the server first", store.display()).into()
}

/// `Err` when a process has the store open.
pub(crate) fn check_free(store: &Path) -> Result<(), Failure> {
    match is_free(store)? {
        true => Ok(()),
        false => Err(in_use(store)),
    }
}

fn is_free(store: &Path) -> Result<bool, Failure> {
    for lock in [store.join("log/LOCK"), store.join("state/LOCK")] {
        match std::fs::File::open(&lock) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", lock.display()).into()),
            Ok(file) => match file.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => return Ok(false),
                Err(std::fs::TryLockError::Error(error)) => return Err(format!("{}: {error}", lock.display()).into()),
            },
        }
    }
    Ok(true)
}

/// Runs this program again in this process, with the same arguments.
pub(crate) fn start_over() -> Failure {
    use std::os::unix::process::CommandExt;
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return format!("cannot find this program to start it again: {error}").into(),
    };
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    format!("cannot start again: {error}; start the server again by hand").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_replica_is_not_thrown_away() {
        let dir = tempfile::tempdir().expect("dir");
        let error = request(dir.path(), Vec::new()).expect_err("nobody has the data").to_string();
        assert!(error.contains("kontiki restore"), "{error}");
        assert!(!is_wanted(dir.path()));
        request(dir.path(), vec!["https://b:6443".into()]).expect("requested");
        request(dir.path(), vec!["https://c:6443".into()]).expect("once is enough");
        let wanted: Wanted = config::read(&file(dir.path())).expect("read");
        assert_eq!(wanted, Wanted { servers: vec!["https://b:6443".into()], id: None });
    }

    #[test]
    fn a_learner_comes_back_as_one() {
        let status = json!({"members": [{"id": 1, "voter": true}, {"id": 4, "voter": false}]});
        assert_eq!([1, 4, 9].map(|id| was_voter(&status, id)), [true, false, true]);
    }

    #[test]
    fn a_store_that_is_open_is_left_alone() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::create_dir(dir.path().join("log")).expect("dir");
        assert!(check_free(dir.path()).is_ok(), "nothing is there");
        let held = std::fs::File::create(dir.path().join("log/LOCK")).expect("a lock");
        held.try_lock().expect("locked");
        assert!(check_free(dir.path()).is_err_and(|error| error.to_string().contains("stop the server first")));
        drop(held);
        assert!(check_free(dir.path()).is_ok());
    }
}
