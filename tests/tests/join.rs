//! Real machines' way in: `server --init`, a token, `server --join`, and who is refused.

use std::time::Duration;

use system_tests::eventually;
use system_tests::servers::{Server, text};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn servers_join_with_a_token_and_strangers_do_not() {
    let mut first = Server::new();
    first.start(&["--init"]);
    eventually("the first replica serves", PATIENCE, || first.replicas().filter(|found| found.len() == 1));
    let token = first.token("server");
    let join = ["--join", &first.url(), "--token", &token];
    let (mut second, mut third) = (Server::new(), Server::new());
    second.start(&join);
    third.start(&join);
    let found = eventually("three replicas", PATIENCE, || first.replicas().filter(|found| found.len() == 3));
    let mut ids: Vec<u64> = found.iter().filter_map(|replica| replica["id"].as_u64()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "every replica has a number of its own: {found:?}");
    assert_eq!(found.iter().filter(|replica| replica["leader"] == true).count(), 1);
    assert_eq!(eventually("the second replica answers", PATIENCE, || second.replicas()).len(), 3);

    let refused = |token: &str| {
        let stranger = Server::new();
        let output = stranger.command(&["--join", &first.url(), "--token", token]).output().expect("kontiki runs");
        assert!(!output.status.success(), "joined with {token}");
        text(&output.stderr)
    };
    let (bearer, hash) = token.split_once(':').expect("a token has a hash");
    assert!(refused(&format!("abcdef.0123456789abcdef:{hash}")).contains("401"), "an unknown token");
    let other = format!("{bearer}:sha256:{}", "0".repeat(64));
    assert!(refused(&other).contains("wrong server or wrong token"), "a server that is not the token's");
    assert!(refused("nonsense").contains("a join token looks like"), "not a token");
    assert!(refused(&first.token("agent")).contains("may not bring in such a machine"), "a token for agents");
    println!("join: three replicas from one token; four strangers refused");
    // Not before: until the second one is a voter too, the third may be half of a quorum.
    drop(third);
}
