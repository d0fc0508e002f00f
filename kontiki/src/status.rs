//! `kontiki status`: the replicas at a glance.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::Failure;
use crate::client::Client;
use crate::kubeconfig::Kubeconfig;

/// Show replicas, leader, revision, lag, disk and certificate expiry.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki status --kubeconfig DIR/admin.kubeconfig
  kontiki status --kubeconfig DIR/admin.kubeconfig -o json | jq '.replicas[] | {id, leader, lag}'")]
pub(crate) struct StatusArgs {
    /// Admin credentials and one server to ask first
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// How long one replica may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn run(args: StatusArgs) -> Result<(), Failure> {
    let kubeconfig = Kubeconfig::read(&args.kubeconfig)?;
    let client = Client::new(&kubeconfig)?.timeout(PATIENCE);
    let report = collect(&client, &args.kubeconfig).await?;
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Text => print!("{}", text(&report, crate::now())),
    }
    Ok(())
}

/// Asks the kubeconfig's server for the members and then every one of them. When that server is down, the
/// other kubeconfigs beside the file (`admin-1.kubeconfig` and so on, as `kontiki up` writes them) are tried.
pub(crate) async fn collect(client: &Client, kubeconfig: &std::path::Path) -> Result<Value, Failure> {
    let first = match ask(client).await {
        Ok(first) => first,
        Err(error) => ask_siblings(client, kubeconfig).await.ok_or(error)?,
    };
    let members = first["members"].as_array().cloned().unwrap_or_default();
    let asked = members.iter().map(|member| async {
        let api = member["api"].as_str().unwrap_or("").to_owned();
        let answer = ask(&client.at(&api)).await;
        (member.clone(), answer)
    });
    let answers = futures::future::join_all(asked).await;
    Ok(report(&first, answers))
}

async fn ask(client: &Client) -> Result<Value, Failure> {
    client.get("/kontiki/v1/status").await?.ok()
}

async fn ask_siblings(client: &Client, kubeconfig: &std::path::Path) -> Option<Value> {
    let dir = kubeconfig.parent()?;
    for number in 1..=9 {
        let Ok(sibling) = Kubeconfig::read(&dir.join(format!("admin-{number}.kubeconfig"))) else { break };
        if let Ok(answer) = ask(&client.at(&sibling.server)).await {
            return Some(answer);
        }
    }
    None
}

/// One entry per member, answered or not; lag is in revisions behind the most advanced that answered.
fn report(first: &Value, answers: Vec<(Value, Result<Value, Failure>)>) -> Value {
    let newest = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()?["revision"].as_u64()).max().unwrap_or(0);
    let replicas: Vec<Value> = answers
        .into_iter()
        .map(|(member, answer)| match answer {
            Ok(mut replica) => {
                let revision = replica["revision"].as_u64().unwrap_or(0);
                replica["lag"] = (newest - revision).into();
                replica["reachable"] = true.into();
                replica["voter"] = member["voter"].clone();
                if let Some(map) = replica.as_object_mut() {
                    map.remove("members");
                }
                replica
            }
            Err(error) => json!({
                "id": member["id"], "api": member["api"], "peer": member["peer"], "voter": member["voter"],
                "leader": false, "reachable": false, "error": error.to_string(),
                "pid": null, "revision": null, "lag": null,
            }),
        })
        .collect();
    json!({"clusterID": first["clusterID"], "kind": first["kind"], "term": first["term"], "replicas": replicas})
}

fn text(report: &Value, now: jiff::Timestamp) -> String {
    let shown = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = vec![["ID", "ROLE", "API", "REVISION", "LAG", "DISK", "CERTIFICATES", "PID"].map(str::to_owned)];
    for replica in report["replicas"].as_array().into_iter().flatten() {
        lines.push([
            shown(&replica["id"]),
            role(replica).to_owned(),
            shown(&replica["api"]),
            shown(&replica["revision"]),
            shown(&replica["lag"]),
            replica["diskBytes"]
                .as_u64()
                .map_or("-".to_owned(), |bytes| format!("{:.1} MiB", bytes as f64 / 1_048_576.0)),
            soonest(&replica["certificates"], now),
            shown(&replica["pid"]),
        ]);
    }
    let head = format!("cluster {}, term {}\n\n", shown(&report["clusterID"]), shown(&report["term"]));
    head + &table(&lines) + &complaints(report)
}

/// What a replica is, in a word.
pub(crate) fn role(replica: &Value) -> &'static str {
    match (replica["reachable"] == true, replica["leader"] == true, replica["voter"] == true) {
        (false, ..) => "unreachable",
        (_, true, _) => "leader",
        (_, _, true) => "follower",
        _ => "learner",
    }
}

/// Columns as wide as they must be.
pub(crate) fn table<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// What replicas that answer say is wrong with them.
fn complaints(report: &Value) -> String {
    let replicas = report["replicas"].as_array().into_iter().flatten();
    let unwell = replicas.filter_map(|replica| Some((&replica["id"], replica["health"].as_str()?)));
    let lines: String = unwell.map(|(id, why)| format!("replica {id}: {why}\n")).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// `364d` until the first certificate ends.
fn soonest(certificates: &Value, now: jiff::Timestamp) -> String {
    let ends = certificates.as_array().into_iter().flatten();
    let soonest = ends.filter_map(|one| one["expires"].as_str()?.parse::<jiff::Timestamp>().ok()).min();
    soonest.map_or("-".to_owned(), |end| days_left(end, now))
}

/// `364d left`
pub(crate) fn days_left(end: jiff::Timestamp, now: jiff::Timestamp) -> String {
    match (end.as_second() - now.as_second()).div_euclid(86_400) {
        days if days < 0 => "EXPIRED".to_owned(),
        days => format!("{days}d left"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn shows_every_member_reached_or_not() {
        let member =
            |id: u64| json!({"id": id, "api": format!("https://127.0.0.1:644{id}"), "peer": "p", "voter": true});
        let up = |id: u64, leader: bool, revision: u64| {
            json!({"id": id, "leader": leader, "revision": revision, "diskBytes": 2_097_152, "pid": 100 + id,
                "api": format!("https://127.0.0.1:644{id}"), "members": [],
                "certificates": [{"name": "apiserver", "expires": "2027-11-22T00:00:00Z"}]})
        };
        let mut unwell = up(2, false, 48);
        unwell["health"] = "no leader is known".into();
        let first = json!({"clusterID": "abcd", "term": 3});
        let answers =
            vec![(member(1), Ok(up(1, true, 50))), (member(2), Ok(unwell)), (member(3), Err("cannot connect".into()))];
        let report = report(&first, answers);
        assert_eq!(report["replicas"][1]["lag"], 2);
        expect![[r#"
            cluster abcd, term 3

            ID  ROLE         API                     REVISION  LAG  DISK     CERTIFICATES  PID
            1   leader       https://127.0.0.1:6441  50        0    2.0 MiB  365d left     101
            2   follower     https://127.0.0.1:6442  48        2    2.0 MiB  365d left     102
            3   unreachable  https://127.0.0.1:6443  -         -    -        -             -

            replica 2: no leader is known
        "#]]
        .assert_eq(&text(&report, "2026-11-22T00:00:00Z".parse().expect("time")));
    }
}
