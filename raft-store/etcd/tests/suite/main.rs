//! One list of cases, run on Kontiki and on Debian's real etcd; both must answer what the golden files say.
//!
//! The files were written by etcd: `UPDATE_EXPECT=1` with an etcd at hand writes them anew. `ETCD` names the
//! program; otherwise it is looked for in the PATH, and where there is none only Kontiki is compared with the files.

mod cases;
mod kontiki;
mod real;
mod transcript;

use std::path::PathBuf;

use cases::{Case, all};
use etcd_client::Client;
use transcript::Transcript;

fn golden(case: &Case) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(format!("{}.txt", case.name))
}

async fn answers(case: &Case, client: Client) -> String {
    println!("case: {}", case.name);
    let mut transcript = Transcript::begin(client, case.name).await;
    (case.run)(&mut transcript).await;
    transcript.text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kontiki_answers_as_etcd_does() {
    let cluster = kontiki::Cluster::start().await;
    let mut wrong = Vec::new();
    for through in [kontiki::Through::Leader, kontiki::Through::Follower] {
        for case in all() {
            let client = cluster.client(through).await;
            let answers = answers(&case, client).await;
            let expected = std::fs::read_to_string(golden(&case)).expect("a golden file");
            if answers != expected {
                let difference = transcript::difference(&expected, &answers);
                wrong.push(format!("{}, through the {through:?}:\n{difference}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_answers_as_it_did() {
    let Some(etcd) = real::Etcd::start() else {
        return println!("skipped: there is no etcd here (apt install etcd-server, or name one in ETCD)");
    };
    for case in all() {
        let answers = answers(&case, etcd.client().await).await;
        expect_test::expect_file![golden(&case)].assert_eq(&answers);
    }
}
