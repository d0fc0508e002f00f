//! `kontiki member`: the replicas of a cluster, and changing them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::Failure;
use crate::replicas::Replicas;
use crate::server::heal;
use crate::{installed, server, status, token};

/// Show, add, replace and remove the replicas of a cluster.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki member list --kubeconfig /var/lib/kontiki/admin.kubeconfig
  kontiki member add                  prints the command to run on the new machine
  kontiki member add --learner        the same for one that serves reads and has no vote
  kontiki member replace 3            the same for one that takes the place of 3, which is dead
  kontiki member promote 5            gives a learner its vote
  kontiki member move-leader 2
  kontiki member remove 4
  kontiki member heal 3               throws away the damaged data of 3; it copies the others'
  kontiki member heal --data-dir /var/lib/kontiki    the same on its machine, when it does not start

Any replica that answers may be the one in the kubeconfig. A stand-alone store has one, too: kontiki store up and
kontiki store serve --init write it.
  kontiki member list --kubeconfig /tmp/s/admin.kubeconfig")]
pub(crate) struct MemberArgs {
    /// Admin credentials and one server to ask first
    #[arg(long, env = "KUBECONFIG", global = true)]
    kubeconfig: Option<PathBuf>,
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(Subcommand, Debug)]
enum MemberCommand {
    /// Show every replica: role, health, addresses, how far it is behind
    List {
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Print the command that makes a machine a further replica
    Add {
        /// It keeps a copy and serves from it, and has no vote
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        ticket: Ticket,
    },
    /// Print the command that makes a machine a replica in the place of a dead one
    Replace {
        /// The dead one; it is removed in the step that gives the new one its vote
        id: u64,
        #[command(flatten)]
        ticket: Ticket,
    },
    /// Give a learner that has caught up a vote
    Promote { id: u64 },
    /// Take a replica out of the cluster; it stops, and its number is never used again
    Remove {
        id: u64,
        /// Also when too few of the others answer for any write to be possible afterwards
        #[arg(long)]
        force: bool,
    },
    /// Hand leadership to a replica that votes
    MoveLeader { id: u64 },
    /// Throw away the damaged data of a replica and have it copy that of the others, as a new member
    Heal {
        #[arg(required_unless_present = "data_dir", conflicts_with = "data_dir")]
        id: Option<u64>,
        /// On the machine of the replica, while its server does not run; it begins anew when it is started
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// With --data-dir: a replica that lives (https://HOST:PORT), where the damaged one cannot tell
        #[arg(long, value_name = "URL", requires = "data_dir")]
        server: Vec<String>,
    },
}

#[derive(Args, Clone, Copy, Debug)]
struct Ticket {
    /// How long the printed command is good for; a stand-alone store's is as long as the kubeconfig is
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(i64).range(1..=8760))]
    hours: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(crate) async fn run(args: MemberArgs) -> Result<(), Failure> {
    let MemberArgs { kubeconfig, command } = args;
    if let MemberCommand::Heal { data_dir: Some(data_dir), server, .. } = &command {
        return heal_here(data_dir, server);
    }
    let kubeconfig = kubeconfig.ok_or("name the admin's credentials: --kubeconfig FILE, or KUBECONFIG")?;
    let replicas = Replicas::find(&kubeconfig).await?;
    match command {
        MemberCommand::List { output } => list(&replicas, output),
        MemberCommand::Add { learner, ticket } => {
            let how = if learner { " --learner" } else { "" };
            invite(&replicas, &kubeconfig, ticket, how).await
        }
        MemberCommand::Replace { id, ticket } => {
            check_dead(replicas.get(id)?)?;
            invite(&replicas, &kubeconfig, ticket, &format!(" --replace {id}")).await
        }
        MemberCommand::Promote { id } => {
            replicas.get(id)?;
            replicas.ask("/kontiki/v1/members/promote", &json!({"id": id})).await?;
            println!("replica {id} votes now");
            Ok(())
        }
        MemberCommand::Remove { id, force } => remove(&replicas, id, force).await,
        MemberCommand::MoveLeader { id } => {
            replicas.get(id)?;
            replicas.ask_leader("/kontiki/v1/members/move-leader", &json!({"id": id})).await?;
            println!("replica {id} leads now");
            Ok(())
        }
        MemberCommand::Heal { id, .. } => heal(replicas, &kubeconfig, id.unwrap_or_default()).await,
    }
}

fn list(replicas: &Replicas, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(replicas.all())?),
        Output::Text => print!("{}", text(replicas.all())),
    }
    Ok(())
}

fn text(replicas: &[Value]) -> String {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = vec![["ID", "ROLE", "HEALTH", "API", "PEER", "BEHIND"].map(str::to_owned)];
    for replica in replicas {
        let behind = replica["lag"].as_u64().map_or("-".to_owned(), |lag| lag.to_string());
        lines.push([
            shown(&replica["id"]),
            status::role(replica).to_owned(),
            health(replica),
            shown(&replica["api"]),
            shown(&replica["peer"]),
            behind,
        ]);
    }
    status::table(&lines)
}

fn health(replica: &Value) -> String {
    match (&replica["error"], &replica["health"]) {
        (Value::String(error), _) => error.clone(),
        (_, Value::String(why)) => why.clone(),
        _ => "ok".to_owned(),
    }
}

/// The server refuses it too; here nobody has gone to another machine yet.
fn check_dead(replica: &Value) -> Result<(), Failure> {
    if replica["reachable"] != true {
        return Ok(());
    }
    let id = &replica["id"];
    Err(format!(
        "replica {id} answers, so it is not dead. Damaged data: kontiki member heal {id}. Another machine for it: \
         kontiki member add, then kontiki member remove {id}"
    )
    .into())
}

/// Prints what to run on the new machine.
async fn invite(replicas: &Replicas, kubeconfig: &Path, ticket: Ticket, how: &str) -> Result<(), Failure> {
    if replicas.report["kind"] == "store" {
        return invite_to_store(replicas, how);
    }
    let mut last = Failure::from("no replica answers");
    // One that is only just joining answers, and cannot help yet.
    for url in replicas.reachable().into_iter().filter_map(|replica| replica["api"].as_str()) {
        match token::create(kubeconfig, url, server::SERVERS, ticket.hours).await {
            Ok(token) => {
                println!("# on the new machine, within {} h, with its address in place of IP:", ticket.hours);
                println!("kontiki server --join {url} --token {token} --advertise IP{how}");
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A store has no tokens: the kubeconfig itself is what lets the new machine ask.
fn invite_to_store(replicas: &Replicas, how: &str) -> Result<(), Failure> {
    let url = replicas.reachable().into_iter().find_map(|replica| replica["api"].as_str());
    let url = url.ok_or("no replica answers")?;
    println!("# on the new machine, with this kubeconfig copied to it and its address in place of IP:");
    println!("kontiki store serve --join {url} --kubeconfig admin.kubeconfig --advertise IP{how}");
    Ok(())
}

async fn remove(replicas: &Replicas, id: u64, force: bool) -> Result<(), Failure> {
    replicas.get(id)?;
    let body = json!({"id": id, "force": force});
    match replicas.ask("/kontiki/v1/members/remove", &body).await {
        // An earlier try whose answer was lost.
        Err(error) if error.to_string().contains("no such member") => {}
        result => drop(result?),
    }
    println!("replica {id} is removed; its data directory can go");
    Ok(())
}

/// A replica whose disk is damaged may end now and then, and be started again: it is told as soon as it answers.
const HEAL_TRIES: u32 = 15;
const HEAL_PAUSE: Duration = Duration::from_secs(1);

async fn heal(mut replicas: Replicas, kubeconfig: &Path, id: u64) -> Result<(), Failure> {
    replicas.get(id)?;
    for attempt in 1.. {
        check_others(&replicas, id)?;
        let why = match tell(&replicas, id).await? {
            None => break,
            Some(why) => why,
        };
        if attempt == HEAL_TRIES {
            return Err(format!(
                "replica {id} cannot be told: {why}. On its machine: kontiki member heal --data-dir DIR, and start its \
                 server"
            )
            .into());
        }
        tokio::time::sleep(HEAL_PAUSE).await;
        replicas = Replicas::find(kubeconfig).await?;
    }
    println!("replica {id} begins anew under another number; kontiki member list shows it when it has joined");
    Ok(())
}

/// `Some`: why it could not be told just now.
async fn tell(replicas: &Replicas, id: u64) -> Result<Option<String>, Failure> {
    // An earlier try whose answer was lost: it is another member by now.
    let Ok(replica) = replicas.get(id) else { return Ok(None) };
    if replica["reachable"] != true {
        return Ok(Some(replica["error"].as_str().unwrap_or("it does not answer").to_owned()));
    }
    match replicas.client_of(replica).post(&format!("/kontiki/v1/members/heal/{id}"), &json!({})).await {
        Ok(answer) => answer.ok().map(|_| None),
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// What is thrown away must be somewhere else.
fn check_others(replicas: &Replicas, id: u64) -> Result<(), Failure> {
    let others = replicas.all().iter().filter(|other| other["id"] != id);
    match others.filter(|other| other["reachable"] == true && other["health"].is_null()).count() {
        0 => Err(format!("no other replica is well, so {id} is not thrown away: kontiki member list").into()),
        _ => Ok(()),
    }
}

fn heal_here(data_dir: &Path, named: &[String]) -> Result<(), Failure> {
    let (config, _) = installed::read(data_dir)?;
    let store = data_dir.join("store");
    heal::check_free(&store)?;
    // What the store itself knew of the others may be what is damaged.
    let known = if named.is_empty() { heal::others(&*config) } else { named.to_vec() };
    if known.is_empty() {
        return Err("its files name no other replica: name one that lives by --server https://HOST:PORT".into());
    }
    heal::request(data_dir, known)?;
    println!("replica {} begins anew when its server is started; its old data is kept beside the new", config.id());
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_list_says_who_is_well() {
        let replica = |id: u64, role: (bool, bool), more: Value| {
            let mut replica = json!({"id": id, "leader": role.0, "voter": role.1, "reachable": true, "lag": 0,
                "api": format!("https://10.0.0.{id}:6443"), "peer": format!("10.0.0.{id}:6444")});
            for (key, value) in more.as_object().into_iter().flatten() {
                replica[key] = value.clone();
            }
            replica
        };
        let replicas = [
            replica(1, (true, true), json!({})),
            replica(2, (false, true), json!({"health": "its state differs from that of the others", "lag": 4})),
            replica(4, (false, true), json!({"reachable": false, "error": "cannot connect", "lag": null})),
            replica(5, (false, false), json!({})),
        ];
        expect![[r#"
            ID  ROLE         HEALTH                                     API                    PEER           BEHIND
            1   leader       ok                                         https://10.0.0.1:6443  10.0.0.1:6444  0
            2   follower     its state differs from that of the others  https://10.0.0.2:6443  10.0.0.2:6444  4
            4   unreachable  cannot connect                             https://10.0.0.4:6443  10.0.0.4:6444  -
            5   learner      ok                                         https://10.0.0.5:6443  10.0.0.5:6444  0
        "#]]
        .assert_eq(&text(&replicas));
        assert!(check_dead(&replicas[2]).is_ok());
        assert!(check_dead(&replicas[0]).is_err_and(|error| error.to_string().contains("not dead")));
    }
}
