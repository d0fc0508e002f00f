//! Who is who, and what is recorded of it, by the flags of a real server.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use system_tests::servers::{Server, text};
use system_tests::{Kubectl, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "s3cret-of-ann";

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("written");
    path.display().to_string()
}

/// kubectl with a token and nothing else.
fn with_token(admin: &Kubectl, server: &Server, dir: &Path, token: &str) -> Kubectl {
    let path = dir.join(format!("{token}.kubeconfig"));
    std::fs::copy(server.kubeconfig(), &path).expect("copied");
    let own = admin.at(path);
    own.ok(&["config", "set-credentials", "by-token", "--token", token]);
    own.ok(&["config", "set-context", "--current", "--user", "by-token"]);
    own
}

#[test]
fn a_token_of_a_file_is_somebody_and_what_it_does_is_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let tokens = write(dir.path(), "tokens.csv", &format!("{TOKEN},ann,7,\"system:masters\"\n"));
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
                  - {level: Metadata, resources: [{group: '', resources: [configmaps]}]}\n- {level: None}\n";
    let policy = write(dir.path(), "policy.yaml", policy);
    let log = dir.path().join("audit.log").display().to_string();
    let mut server = Server::new();
    server.start(&["--init", "--token-auth-file", &tokens, "--audit-policy-file", &policy, "--audit-log-path", &log]);
    eventually("the server serves", PATIENCE, || server.replicas());
    let Some(admin) = Kubectl::find(server.kubeconfig()) else { return };
    let ann = with_token(&admin, &server, dir.path(), TOKEN);
    eventually("namespaces are there", PATIENCE, || {
        ann.output(&["get", "ns", "default"]).status.success().then_some(())
    });
    assert!(ann.ok(&["auth", "whoami"]).contains("ann"));
    let revision =
        ann.ok(&["create", "configmap", "noted", "--from-literal=a=b", "-o", "jsonpath={.metadata.resourceVersion}"]);
    let stranger = with_token(&admin, &server, dir.path(), "of-nobody");
    assert!(stranger.refused(&["get", "configmaps"]).contains("Unauthorized"));
    server.stop();

    let records = std::fs::read_to_string(&log).expect("a log");
    assert!(!records.contains(TOKEN), "a token is recorded");
    let all: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let noted = |record: &&Value| record["verb"] == "create" && record["objectRef"]["name"] == "noted";
    let found: Vec<&Value> = all.iter().filter(noted).collect();
    let [record] = found[..] else { panic!("{} records of one request: {records}", found.len()) };
    assert_eq!(record["user"]["username"], "ann");
    assert_eq!((&record["stage"], &record["responseStatus"]["code"]), (&"ResponseComplete".into(), &201.into()));
    assert_eq!(record["annotations"]["audit.kontiki.io/revision"], Value::from(revision));
    assert!(
        all.iter().all(|record| record["objectRef"]["resource"] == "configmaps"),
        "the policy says what not: {records}"
    );
}

#[test]
fn what_cannot_be_used_ends_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let policy =
        write(dir.path(), "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n");
    let broken =
        write(dir.path(), "broken.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Loud}]\n");
    let plain = "current-context: c\ncontexts: [{name: c, context: {cluster: a}}]\nclusters: [{name: a, cluster: {server: 'http://a'}}]\n";
    let plain = write(dir.path(), "plain.yaml", plain);
    let missing = dir.path().join("missing").display().to_string();
    for (flags, why) in [
        (vec!["--audit-policy-file", &broken, "--audit-log-path", "-"], "Loud"),
        (vec!["--audit-policy-file", &policy, "--audit-webhook-config-file", &plain], "URL scheme must be https"),
        (vec!["--token-auth-file", &missing], "missing"),
        (vec!["--authentication-config", &missing], "missing"),
        (vec!["--oidc-issuer-url", "https://a"], "must be specified together"),
        (vec!["--authorization-config", &broken], "broken.yaml"),
        (vec!["--controllers", "*,-nothing"], "is not in the list of known controllers"),
    ] {
        let server = Server::new();
        let mut command = server.command(&[&["--init"], &flags[..]].concat());
        let output = command.output().expect("kontiki runs");
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{flags:?}: {}: {said}", output.status);
    }
}
