//! `kontiki recover`: a new cluster with what a survivor has, when a majority of replicas is lost for good.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;
use store_node::anew::{self, Anew, Survivor};

use crate::Failure;
use crate::client::Client;
use crate::installed::{self, Installed};
use crate::restore;
use crate::server::{heal, setup};

/// Begin a new cluster with what one replica has, when a majority of the replicas is lost for good.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki recover --data-dir /var/lib/kontiki          says what it would do and what may be lost
  kontiki recover --data-dir /var/lib/kontiki --yes    does it

Run it on the machine of the survivor that knows most, with its server stopped and those of the other survivors
running: it asks them, and says when another one knows more. Afterwards start the server, and have further replicas
join with empty directories. A replica of a stand-alone store is recovered in the same way. Where a backup is newer than the survivor, restore that instead.

Never start the lost replicas with their old data again: two of them together would go on as the old cluster.")]
pub(crate) struct RecoverArgs {
    /// Of the survivor
    #[arg(long, default_value = "/var/lib/kontiki")]
    data_dir: PathBuf,
    /// Do it; without, nothing is changed
    #[arg(long)]
    yes: bool,
    /// Also when another survivor knows more, or a majority answers
    #[arg(long)]
    force: bool,
}

/// How long another replica may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What another member said.
#[derive(Clone, Debug)]
struct Heard {
    id: u64,
    api: String,
    voter: bool,
    /// Term and index of its last entry; `None`: it does not answer.
    last: Option<(u64, u64)>,
}

pub(crate) async fn run(args: RecoverArgs) -> Result<(), Failure> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let (config, file) = installed::read(&args.data_dir)?;
    let store = survivor_dir(&*config)?;
    heal::check_free(&store)?;
    let survivor = tokio::task::block_in_place(|| anew::inspect(&store))?;
    let heard = ask_others(&*config, &survivor).await?;
    print!("{}", describe(&survivor, &heard));
    if let Some(why) = refusal(&survivor, &heard) {
        match args.force {
            true => println!("going on all the same: {why}"),
            false => return Err(why.into()),
        }
    }
    if !args.yes {
        println!("nothing was changed; to do it, run it again with --yes");
        return Ok(());
    }
    tokio::task::block_in_place(|| recover(config, &file, &store, &survivor))
}

fn aside(config: &dyn Installed) -> PathBuf {
    config.data_dir().join(format!("store.before-recovery-{}", config.id()))
}

/// The store, wherever an earlier try that was interrupted has left it.
fn survivor_dir(config: &dyn Installed) -> Result<PathBuf, Failure> {
    let (store, aside) = (config.data_dir().join("store"), aside(config));
    match (store.exists(), aside.exists()) {
        (true, false) => Ok(store),
        (false, true) => Ok(aside),
        (false, false) => Err(format!("{} is not there: nothing is left to recover from", store.display()).into()),
        (true, true) => Err(format!(
            "{} is there: this replica was recovered already, start its server (to recover once more, move that away)",
            aside.display()
        )
        .into()),
    }
}

async fn ask_others(config: &dyn Installed, survivor: &Survivor) -> Result<Vec<Heard>, Failure> {
    let client = heal::admin_client(config)?.timeout(PATIENCE);
    let others = survivor.members.iter().filter(|(id, ..)| *id != survivor.id);
    let asked = others.map(|(id, api, voter)| {
        let client = client.at(api);
        async move { Heard { id: *id, api: api.clone(), voter: *voter, last: ask(&client, &survivor.cluster_id).await } }
    });
    Ok(futures::future::join_all(asked).await)
}

async fn ask(client: &Client, cluster_id: &str) -> Option<(u64, u64)> {
    let status: Value = client.get("/kontiki/v1/status").await.ok()?.ok().ok()?;
    let same = status["clusterID"].as_str() == Some(cluster_id);
    same.then(|| Some((status["lastLogTerm"].as_u64()?, status["lastLogIndex"].as_u64()?)))?
}

/// Why it should not be done here.
fn refusal(survivor: &Survivor, heard: &[Heard]) -> Option<String> {
    let voters = survivor.members.iter().filter(|(_, _, voter)| *voter).count();
    let me = survivor.members.iter().any(|(id, _, voter)| *id == survivor.id && *voter);
    let alive = heard.iter().filter(|other| other.voter && other.last.is_some()).count() + usize::from(me);
    if alive * 2 > voters {
        return Some(format!(
            "with this one, {alive} of {voters} voters are there, which is a majority: start its server, nothing is lost"
        ));
    }
    let newest = heard.iter().filter(|other| other.last > Some(survivor.last)).max_by_key(|other| other.last)?;
    let (term, index) = newest.last.unwrap_or_default();
    Some(format!(
        "replica {} at {} knows more: its log ends with entry {index} of term {term}; run it there",
        newest.id, newest.api
    ))
}

fn describe(survivor: &Survivor, heard: &[Heard]) -> String {
    let Survivor { id, cluster_id, last: (term, index), committed, revision, .. } = survivor;
    let mut text = format!("replica {id} of cluster {cluster_id}\n");
    text +=
        &format!("  its log ends with entry {index} of term {term}, its state is at revision {revision} or later\n");
    if let Some(at) = survivor.last_write.and_then(|at| Timestamp::try_from(at).ok()) {
        text += &format!("  it last wrote at {}\n", at.strftime("%Y-%m-%d %H:%M:%S UTC"));
    }
    for other in heard {
        let said = match other.last {
            Some((term, index)) => format!("its log ends with entry {index} of term {term}"),
            None => "does not answer".to_owned(),
        };
        text += &format!("replica {} at {}: {said}\n", other.id, other.api);
    }
    let unsure = index.saturating_sub(*committed);
    text += &format!("kept: everything it has, also the {unsure} entries that no majority is known to have\n");
    text += "may be lost: what the lost replicas acknowledged after that and this one never got; how much that is, only \
             they could tell\n";
    text
}

fn recover(mut config: Box<dyn Installed>, file: &Path, store: &Path, survivor: &Survivor) -> Result<(), Failure> {
    let (target, aside) = (config.data_dir().join("store"), aside(&*config));
    if store == target {
        fs::rename(&target, &aside).map_err(|error| format!("cannot move {} away: {error}", target.display()))?;
    }
    heal::forget_member(config.data_dir())?;
    let since = survivor.last_write.and_then(|at| Timestamp::try_from(at).ok()).unwrap_or_else(crate::now);
    let anew = Anew {
        data_dir: target,
        cluster_id: setup::new_cluster_id(),
        peer_addr: config.peer().to_owned(),
        api_url: config.api_url(),
        jump: restore::jump(since, crate::now()),
    };
    let begun = anew::recover(&aside, &anew, restore::incarnation())?;
    config.become_member(begun.id, true, Some(&anew.cluster_id));
    config.write(file)?;
    println!(
        "recovered: cluster {} with replica {}, at revision {} (the newest it had is {})\n\
         start it:        {}\n\
         then the others: kontiki member add, with empty directories\n\
         the store as it was is in {}; remove it when you do not need it",
        config.cluster_id(),
        begun.id,
        begun.revision,
        begun.newest,
        config.kind().start(config.data_dir()),
        aside.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor() -> Survivor {
        let member = |id: u64| (id, format!("https://10.0.0.{id}:6443"), true);
        Survivor {
            id: 2,
            cluster_id: "abcd".into(),
            last: (4, 120),
            committed: 117,
            applied: 117,
            revision: 90,
            members: vec![member(1), member(2), member(3), member(4), member(5)],
            last_write: None,
        }
    }

    fn heard(id: u64, last: Option<(u64, u64)>) -> Heard {
        Heard { id, api: format!("https://10.0.0.{id}:6443"), voter: true, last }
    }

    #[test]
    fn the_most_advanced_survivor_is_the_one() {
        let survivor = survivor();
        let ask = |first, second| {
            let heard = [heard(1, None), heard(3, first), heard(4, second), heard(5, None)];
            refusal(&survivor, &heard).unwrap_or_default()
        };
        assert_eq!(ask(None, None), "");
        assert_eq!(ask(Some((4, 120)), None), "", "as much as this one");
        assert_eq!(ask(Some((3, 999)), None), "", "an older term");
        assert!(ask(Some((4, 121)), None).starts_with("replica 3 at https://10.0.0.3:6443 knows more"));
        assert!(ask(Some((5, 1)), None).contains("entry 1 of term 5"));
        assert!(ask(Some((1, 1)), Some((1, 1))).contains("3 of 5 voters are there"));
    }

    #[test]
    fn it_says_what_may_be_lost() {
        let text = describe(&survivor(), &[heard(1, None), heard(3, Some((4, 110)))]);
        expect_test::expect![[r#"
            replica 2 of cluster abcd
              its log ends with entry 120 of term 4, its state is at revision 90 or later
            replica 1 at https://10.0.0.1:6443: does not answer
            replica 3 at https://10.0.0.3:6443: its log ends with entry 110 of term 4
            kept: everything it has, also the 3 entries that no majority is known to have
            may be lost: what the lost replicas acknowledged after that and this one never got; how much that is, only they could tell
        "#]]
        .assert_eq(&text);
    }
}
