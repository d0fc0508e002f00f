//! Who somebody is.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures::future::join_all;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use serde_json::{Value, json};
use system_tests::client::{Client, Identity, authority, certify};
use system_tests::issuer::{self, Fault, Issuer, Signer};
use system_tests::servers::{Server, text};

use crate::world::{PODS, SOON, World, pod, rule, who};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// Headers that say whom a request is from are a front proxy's; and where that has the CA of ordinary clients, and no
/// name is told, the server does not start.
pub(crate) async fn a22_only_front_proxies_say_who_somebody_is(world: &World) {
    let claim = [("x-remote-user", "root"), ("x-remote-group", "system:masters")];
    let front = world.certified(&world.front_ca, "front", &[]);
    let named = [
        ("x-remote-user", "a22-bob"),
        ("x-remote-uid", "u1"),
        ("x-remote-group", "dev"),
        ("x-remote-extra-acme.com%2Fproject", "p"),
    ];
    let expected = json!({"username": "a22-bob", "uid": "u1", "groups": ["dev", "system:authenticated"],
        "extra": {"acme.com/project": ["p"]}});
    assert_eq!(who(&front, &named).await, Ok(expected), "the control");
    let secrets = async |client: &Client| client.send("GET", "/api/v1/secrets", &claim, "").await.code;
    assert_eq!(secrets(&front).await, 200, "the control");
    // By itself a front proxy is nobody.
    assert_eq!(who(&front, &[]).await, Err(401));
    assert_eq!(who(&front, &[("x-remote-group", "system:masters")]).await, Err(401));
    assert_eq!(who(&front, &[("x-remote-user", ""), ("x-remote-group", "system:masters")]).await, Err(401));
    // An ordinary client, of a name that would do.
    let identity = certify(&world.ca, &subdirectory(world, "a22"), "front", &[]);
    let client = world.showing(&identity);
    assert_eq!(who(&client, &claim).await.expect("known")["username"], "front", "the headers say nothing");
    assert_eq!(secrets(&client).await, 403);
    // Another certificate of the front proxies' CA, one that has ended, and one for servers.
    let other = world.certified(&world.front_ca, "a22-other", &["system:masters"]);
    assert_eq!(secrets(&other).await, 401);
    let request =
        || pki::authority::Request { common_name: "front".into(), client: true, days: 1, ..Default::default() };
    let ended = world.issued(&world.front_ca, "a22-ended", &request(), 3 * 86_400);
    assert_eq!(secrets(&world.showing(&ended)).await, 401);
    let serving = pki::authority::Request { client: false, server: true, ..request() };
    let serving = world.issued(&world.front_ca, "a22-serving", &serving, 0);
    assert_eq!(secrets(&world.showing(&serving)).await, 401);
    let stranger = world.stranger();
    assert_eq!(secrets(&stranger).await, 403);
    let version = stranger.send("GET", "/version", &claim, "").await;
    assert_eq!(version.code, 200, "the headers are as if they were not there");

    let careless = Server::new();
    let shared = careless.dir.join("pki/ca.crt").display().to_string();
    let mut command =
        tokio::process::Command::from(careless.command(&["--init", "--requestheader-client-ca-file", &shared]));
    let ended = tokio::time::timeout(SOON, command.kill_on_drop(true).output()).await;
    let ended = ended.expect("it does not start").expect("it runs");
    let said = text(&ended.stderr);
    assert!(!ended.status.success() && said.contains("--requestheader-allowed-names must be specified"), "{said}");
}

/// A directory for files whose names are taken.
fn subdirectory(world: &World, name: &str) -> std::path::PathBuf {
    let dir = world.dir.path().join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// A token ends with its time, with its account, and with what it is bound to; another of the same name does not bring
/// it back. What only looks like one of ours is none.
pub(crate) async fn a23_tokens_end_with_what_they_are_bound_to(world: &World) {
    let web = json!({"metadata": {"name": "a23-web"}});
    world.admin.make(ACCOUNTS, &web).await;
    let mut running = pod("a23");
    running["spec"]["serviceAccountName"] = "a23-web".into();
    let secret = json!({"metadata": {"name": "a23"}, "stringData": {"a": "b"}});
    let node = json!({"metadata": {"name": "a23"}, "spec": {"unschedulable": true}});
    let bound = [("Pod", PODS, &running), ("Secret", SECRETS, &secret), ("Node", "/api/v1/nodes", &node)];
    for (_, target, object) in bound {
        world.admin.make(target, object).await;
    }
    let stranger = world.stranger();
    let user = async |token: &str| who(&stranger, &[("authorization", &format!("Bearer {token}"))]).await;
    let issue = async |spec: Value| {
        let answer = world.token("a23-web", spec).await;
        assert_eq!(answer.code, 201, "{}", answer.status());
        answer.json()["status"]["token"].as_str().expect("a token").to_owned()
    };
    for (kind, target, object) in bound {
        let to = json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": "a23"}});
        let token = issue(to.clone()).await;
        let known = user(&token).await.unwrap_or_else(|code| panic!("{kind}: {code}"));
        assert_eq!(known["username"], "system:serviceaccount:default:a23-web");
        if kind != "Secret" {
            let key = format!("authentication.kubernetes.io/{}-name", kind.to_lowercase());
            assert_eq!(known["extra"][&key], json!(["a23"]));
        }
        world.delete(&format!("{target}/a23")).await;
        assert_eq!(user(&token).await, Err(401), "{kind}: gone");
        world.admin.make(target, object).await;
        assert_eq!(user(&token).await, Err(401), "{kind}: another of the same name");
        let review = json!({"spec": {"token": token}});
        let review = world.admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.json();
        assert_ne!(review["status"]["authenticated"], true, "{kind}: a review");
        assert!(user(&issue(to).await).await.is_ok(), "{kind}: a token of the new one");
    }
    assert_eq!(user(&issue(json!({"audiences": ["vault"]})).await).await, Err(401), "for somebody else");
    let own = issue(json!({"expirationSeconds": 3607})).await;
    assert!(user(&own).await.is_ok(), "the control");
    let claims: Value = {
        let part = own.split('.').nth(1).expect("three parts");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    };
    let lasts = claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(end, start)| end - start);
    assert_eq!(lasts, Some(3607), "it is not made to last longer than was asked for: {claims}");

    forged(world, &own, &claims).await;

    world.delete(&format!("{ACCOUNTS}/a23-web")).await;
    assert_eq!(user(&own).await, Err(401), "the account is gone");
    world.admin.make(ACCOUNTS, &web).await;
    assert_eq!(user(&own).await, Err(401), "another account of the same name");
    for target in [PODS, SECRETS, "/api/v1/nodes"] {
        world.delete(&format!("{target}/a23")).await;
    }
}

/// Tokens that are wrong in one thing each. The server's own key signs those whose signature is not what is wrong.
async fn forged(world: &World, own: &str, claims: &Value) {
    let stranger = world.stranger();
    let user = async |token: &str| who(&stranger, &[("authorization", &format!("Bearer {token}"))]).await;
    let pem = std::fs::read_to_string(world.server.dir.join("pki/sa.key")).expect("the server's key");
    let (signer, other) = (Signer::from_pem(&pem), Signer::generate());
    let jwks = world.admin.get("/openid/v1/jwks").await.json();
    let kid = jwks["keys"][0]["kid"].as_str().expect("a key").to_owned();
    let head = json!({"alg": "ES256", "kid": kid});
    assert!(user(&signer.sign(&head, claims)).await.is_ok(), "the control: the same, signed again");
    let with = |field: &str, value: Value| {
        let mut changed = claims.clone();
        changed[field] = value;
        signer.sign(&head, &changed)
    };
    let hmac = |key: &[u8]| {
        let signed = issuer::unsigned(&json!({"alg": "HS256", "kid": kid}), claims);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let now = issuer::now();
    let none = issuer::unsigned(&json!({"alg": "none"}), claims);
    let (signed, signature) = own.rsplit_once('.').expect("three parts");
    let mut private = claims["kubernetes.io"].clone();
    private["serviceaccount"]["name"] = "default".into();
    for (what, token) in [
        ("ended", with("exp", (now - 120).into())),
        ("not yet", with("nbf", (now + 3600).into())),
        ("of another issuer", with("iss", "https://kubernetes.default.svc".into())),
        ("of an issuer with a slash", with("iss", format!("{}/", claims["iss"].as_str().unwrap_or("")).into())),
        ("for nobody", with("aud", json!([]))),
        ("for somebody else", with("aud", json!(["vault"]))),
        ("of another account", with("sub", "system:serviceaccount:kube-system:default".into())),
        ("of an account with another's uid", with("kubernetes.io", private)),
        ("bound to nothing, as of old", with("kubernetes.io", Value::Null)),
        ("of another key", other.sign(&head, claims)),
        ("of another key without a name", other.sign(&json!({"alg": "ES256"}), claims)),
        ("with a key's name that is a path", signer.sign(&json!({"alg": "ES256", "kid": "../../dev/null"}), claims)),
        ("with another algorithm's name", signer.sign(&json!({"alg": "RS256", "kid": kid}), claims)),
        ("HS256 with the public key", hmac(signer.public_pem().as_bytes())),
        ("HS256 without a key", hmac(b"")),
        ("alg none", format!("{none}.")),
        ("alg none with a signature", format!("{none}.{signature}")),
        ("without a signature", format!("{signed}.")),
        ("with its signature cut off", signed.to_owned()),
        ("with more behind it", format!("{own}.x")),
    ] {
        assert_eq!(user(&token).await, Err(401), "{what}");
    }
}

/// Nobody gets a token of an account by being another, by a pod of another, or by another's name in the request; a node
/// gets those of its pods, for whom they speak to.
pub(crate) async fn a24_nobody_gets_a_token_of_another_account(world: &World) {
    for name in ["a24-web", "a24-admin"] {
        world.admin.make(ACCOUNTS, &json!({"metadata": {"name": name}})).await;
    }
    let token = world.token("a24-web", json!({})).await.json();
    let web = world.stranger().with_token(token["status"]["token"].as_str().expect("a token"));
    for account in ["a24-admin", "a24-web"] {
        let asked = web.post(&format!("{ACCOUNTS}/{account}/token"), &json!({})).await;
        assert_eq!(asked.code, 403, "{account}: {}", asked.status());
    }
    for (name, account, node) in [("a24-p1", "a24-web", "a24-n1"), ("a24-p2", "a24-admin", "a24-n2")] {
        let mut pod = pod(name);
        pod["spec"]["serviceAccountName"] = account.into();
        pod["spec"]["nodeName"] = node.into();
        world.admin.make(PODS, &pod).await;
    }
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "a24-p2"}});
    assert_eq!(world.token("a24-web", bound).await.code, 400, "a pod of another account");
    let target = format!("{ACCOUNTS}/a24-web/token");
    for (metadata, code) in [
        (json!({"name": "a24-admin"}), 422),
        (json!({"namespace": "kube-system"}), 400),
        (json!({"uid": "of-an-earlier-one"}), 409),
    ] {
        let answer = world.admin.post(&target, &json!({"metadata": metadata, "spec": {}})).await;
        assert_eq!(answer.code, code, "{metadata}: {}", answer.status());
    }

    let node = world.node("a24-n1");
    let of = async |name: &str| world.admin.get(&format!("{PODS}/{name}")).await.json()["metadata"]["uid"].clone();
    let (own, foreign) = (of("a24-p1").await, of("a24-p2").await);
    let ask = async |account: &str, pod: &str, uid: &Value, audiences: Value| {
        let mut spec = json!({"audiences": audiences});
        if !pod.is_empty() {
            spec["boundObjectRef"] = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid});
        }
        node.post(&format!("{ACCOUNTS}/{account}/token"), &json!({"spec": spec})).await
    };
    let good = ask("a24-web", "a24-p1", &own, json!([])).await;
    assert_eq!(good.code, 201, "the control: {}", good.status());
    for (what, answer) in [
        ("of a pod elsewhere", ask("a24-admin", "a24-p2", &foreign, json!([])).await),
        ("of an account without a pod here", ask("a24-admin", "a24-p1", &own, json!([])).await),
        ("with another's uid", ask("a24-web", "a24-p1", &foreign, json!([])).await),
        ("without a uid", ask("a24-web", "a24-p1", &json!(""), json!([])).await),
        ("bound to nothing", ask("a24-web", "", &own, json!([])).await),
        ("for whom the pod does not speak to", ask("a24-web", "a24-p1", &own, json!(["vault"])).await),
        ("for two", ask("a24-web", "a24-p1", &own, json!(["a", "b"])).await),
    ] {
        assert_eq!(answer.code, 403, "{what}: {}", answer.status());
    }
    for name in ["a24-p1", "a24-p2"] {
        world.delete(&format!("{PODS}/{name}")).await;
    }
}

/// A bootstrap token is good in the header until it ends, and not in a URL; guesses do not find it and do not lock its
/// owner out; and it is found in no log. (That comparing takes the same time always is the code's to show.)
pub(crate) async fn a25_bootstrap_tokens_are_headers_and_end(world: &World) {
    const SECRET: &str = "a25s3cr3tt0k3nzz";
    const SYSTEM: &str = "/api/v1/namespaces/kube-system/secrets";
    let secret = |id: &str, secret: &str, end: &str| {
        json!({"metadata": {"name": format!("bootstrap-token-{id}")}, "type": "bootstrap.kubernetes.io/token",
            "stringData": {"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true",
            "expiration": end}})
    };
    world.admin.make(SYSTEM, &secret("a25a25", SECRET, "2999-01-01T00:00:00Z")).await;
    world.admin.make(SYSTEM, &secret("a25a26", "0123456789abcdef", "2999-01-01T00:00:00Z")).await;
    let stranger = world.stranger();
    let user = async |token: &str| who(&stranger, &[("authorization", &format!("Bearer {token}"))]).await;
    let good = format!("a25a25.{SECRET}");
    let known = user(&good).await.expect("the control");
    assert_eq!(known["groups"], json!(["system:bootstrappers", "system:authenticated"]));
    for wrong in ["a25a25.a25s3cr3tt0k3nzy", "a25a27.a25s3cr3tt0k3nzz", "a25a25.a25s3cr3tt0k3nz", "a25a25.", "a25a25"] {
        assert_eq!(user(wrong).await, Err(401), "{wrong}");
    }
    for name in ["token", "access_token", "bearer", "authorization"] {
        let answer = stranger.get(&format!("/api/v1/nodes?{name}=a25a26.0123456789abcdef")).await;
        assert!(answer.code == 403 && answer.status().contains("system:anonymous"), "{name}: {}", answer.status());
    }
    let guesses = (0..200).map(|guess| format!("a25a25.a25s3cr3tt0k{guess:04}")).collect::<Vec<_>>();
    for some in guesses.chunks(20) {
        let found = join_all(some.iter().map(|guess| user(guess))).await;
        assert!(found.iter().all(|answer| *answer == Err(401) || *answer == Err(429)), "{found:?}");
    }
    assert!(user(&good).await.is_ok(), "its owner is not locked out");

    let log = std::fs::read_to_string(world.server.dir.with_extension("log")).expect("the server's log");
    let audited = world.audited();
    assert!(audited.contains("system:bootstrap:a25a25"), "the control: what it did is recorded");
    for (what, content) in [("the log", log), ("the audit log", audited)] {
        assert!(!content.contains(SECRET) && !content.contains(&STANDARD.encode(SECRET)), "it is in {what}");
    }

    for id in ["a25a25", "a25a26"] {
        world.delete(&format!("{SYSTEM}/bootstrap-token-{id}")).await;
    }
    assert_eq!(user(&good).await, Err(401), "taken away");
    let made = secret("a25a28", SECRET, "2000-01-01T00:00:00Z");
    let made = world.admin.post(SYSTEM, &made).await;
    assert_eq!(made.code, 201, "{}", made.status());
    assert_eq!(user(&format!("a25a28.{SECRET}")).await, Err(401), "ended");
}

fn subject(groups: &[&str], name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for (at, group) in groups.iter().enumerate() {
        // The second one of a kind would take the place of the first.
        let kind = if at == 0 { DnType::OrganizationName } else { DnType::CustomDnType(vec![2, 5, 4, 10]) };
        subject.push(kind, *group);
    }
    subject.push(DnType::CommonName, name);
    subject
}

/// A request for a certificate in PEM and base64, by a new key.
fn request_of(name: &str, groups: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (KeyPair, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(groups, name);
    change(&mut params);
    let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    (key, STANDARD.encode(pem))
}

/// Its object.
fn request_for(object: &str, signer: &str, usages: &[&str], request: &str) -> Value {
    json!({"metadata": {"name": object}, "spec": {"request": request, "signerName": signer, "usages": usages,
        "expirationSeconds": 3600}})
}

fn approved(message: &str) -> Value {
    json!([{"type": "Approved", "status": "True", "reason": "Attack", "message": message}])
}

/// What becomes of a request that is to be decided: its certificate, or `Err` with why it failed.
async fn decided(world: &World, object: &str) -> Result<String, String> {
    let deadline = Instant::now() + SOON;
    loop {
        let found = world.admin.get(&format!("{CSRS}/{object}")).await.json();
        if let Some(certificate) = found["status"]["certificate"].as_str() {
            return Ok(String::from_utf8(STANDARD.decode(certificate).expect("base64")).expect("PEM"));
        }
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if let Some(failed) = conditions.iter().find(|condition| condition["type"] == "Failed") {
            return Err(failed["message"].as_str().unwrap_or("").to_owned());
        }
        assert!(Instant::now() < deadline, "{object}: nothing became of it: {found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

/// Nobody asks for a certificate of the masters or of another node, nobody approves without the signer's right, and
/// what a signer does not sign it does not sign when approved either; nor does a certificate do what its signer is not
/// for.
pub(crate) async fn a26_certificate_requests_for_others(world: &World) {
    let write = ["create", "get", "update", "patch"];
    let all =
        ["certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"];
    let user = world.user_with("a26-ann", json!([rule("certificates.k8s.io", &all, &write)])).await;
    let usages = ["client auth", "digital signature"];
    let ask = async |client: &Client, object: &str, signer: &str, request: &str| {
        client.post(CSRS, &request_for(object, signer, &usages, request)).await
    };
    let plain = |name: &str, groups: &[&str]| request_of(name, groups, |_| ()).1;

    for groups in [&["system:masters"][..], &["a26", "system:masters"]] {
        let answer = ask(&user, "a26-masters", CLIENT, &plain("a26-root", groups)).await;
        assert_eq!(answer.code, 403, "{groups:?}: {}", answer.status());
    }
    let answer =
        ask(&user, "a26-legacy", "kubernetes.io/legacy-unknown", &plain("a26-root", &["system:masters"])).await;
    assert_eq!(answer.code, 422, "a signer of old: {}", answer.status());
    let node = world.node("a26-n1");
    let nodes = ["system:nodes"];
    for signer in [KUBELET, SERVING] {
        let answer = ask(&node, "a26-other", signer, &plain("system:node:a26-n2", &nodes)).await;
        assert_eq!(answer.code, 403, "a node asks as another: {}", answer.status());
    }

    // Who asks is who is said to ask, and nobody approves on the way in.
    let mut request = request_for("a26-jane", CLIENT, &usages, &plain("a26-jane", &[]));
    request["spec"]["username"] = "system:admin".into();
    request["spec"]["groups"] = json!(["system:masters"]);
    request["status"] = json!({"conditions": approved("on the way in")});
    let made = user.post(CSRS, &request).await;
    assert_eq!(made.code, 201, "the control: {}", made.status());
    let made = made.json();
    assert_eq!(made["spec"]["username"], "a26-ann");
    assert!(!made["spec"]["groups"].to_string().contains("system:masters"), "{made}");
    assert!(made["status"]["conditions"].is_null(), "{made}");

    // The right to write an approval is not enough, nor is that to write a certificate.
    let with = |status: Value| {
        let mut changed = made.clone();
        changed["status"] = status;
        changed
    };
    let target = format!("{CSRS}/a26-jane");
    let answer = user.put(&format!("{target}/approval"), &with(json!({"conditions": approved("her own")}))).await;
    assert_eq!(answer.code, 403, "her own approval: {}", answer.status());
    let certificate = STANDARD.encode(world.ca.certificate_pem());
    for (what, status) in [
        ("a certificate of hers", json!({"certificate": certificate})),
        ("an approval by the status", json!({"conditions": approved("by the status")})),
    ] {
        let answer = user.put(&format!("{target}/status"), &with(status)).await;
        let after = world.admin.get(&target).await.json();
        let unchanged = after["status"]["certificate"].is_null() && after["status"]["conditions"].is_null();
        assert!(unchanged, "{what}: {}", answer.status());
        assert!([403, 422].contains(&answer.code), "{what}: {}", answer.status());
    }
    let mut other = made.clone();
    other["spec"]["request"] = plain("a26-root", &["system:masters"]).into();
    other["status"] = json!({"conditions": approved("of another request")});
    let answer = world.admin.put(&format!("{target}/approval"), &other).await;
    assert_eq!(answer.json()["spec"]["request"], made["spec"]["request"], "the request is not exchanged");
    let jane = decided(world, "a26-jane").await.expect("the control: a certificate");
    assert!(jane.contains("BEGIN CERTIFICATE"));

    // What is approved and yet not signed.
    let sans = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("kubernetes.default.svc".try_into().expect("a name"))];
    };
    let named = request_of("system:node:a26-n3", &nodes, sans).1;
    for (object, signer, usages, request) in [
        ("a26-groups", KUBELET, &usages[..], plain("system:node:a26-n3", &["system:nodes", "system:masters"])),
        ("a26-admin", KUBELET, &usages[..], plain("a26-root", &nodes)),
        ("a26-names", KUBELET, &usages[..], named.clone()),
        ("a26-server", CLIENT, &["client auth", "server auth"][..], plain("a26-eve", &[])),
        ("a26-user", SERVING, &["server auth", "digital signature"][..], plain("a26-eve", &nodes)),
    ] {
        let made = world.admin.make(CSRS, &request_for(object, signer, usages, &request)).await;
        let mut approval = made;
        approval["status"] = json!({"conditions": approved("by mistake")});
        let answer = world.admin.put(&format!("{CSRS}/{object}/approval"), &approval).await;
        assert_eq!(answer.code, 200, "{object}: {}", answer.status());
        let outcome = decided(world, object).await;
        assert!(outcome.is_err(), "{object}: it was signed");
    }

    // Who may bring in nodes brings in nodes, by themselves; a request for names is for an admin to approve.
    let create = ["certificatesigningrequests", "certificatesigningrequests/nodeclient"];
    let rules = json!([rule("certificates.k8s.io", &create, &["create", "get"])]);
    let joiner = world.user_with("a26-joiner", rules).await;
    let serving = request_for("a26-serving", SERVING, &["server auth", "digital signature"], &named);
    world.admin.make(CSRS, &serving).await;
    let own = ask(&joiner, "a26-own", KUBELET, &plain("system:node:a26-n4", &nodes)).await;
    assert_eq!(own.code, 201, "{}", own.status());
    decided(world, "a26-own").await.expect("the control: approved by itself");
    let pending = world.admin.get(&format!("{CSRS}/a26-serving")).await.json();
    assert!(pending["status"]["conditions"].is_null(), "{pending}");

    // A CA that asks for it is none, and a serving certificate is no client's.
    let (key, request) = request_of("a26-ca", &[], |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let (sign, asked) = request_of("system:node:a26-n3", &nodes, sans);
    for (object, signer, usages, request) in
        [("a26-ca", CLIENT, usages, &request), ("a26-known", SERVING, ["server auth", "digital signature"], &asked)]
    {
        let mut made = world.admin.make(CSRS, &request_for(object, signer, &usages, request)).await;
        made["status"] = json!({"conditions": approved("in good faith")});
        assert_eq!(world.admin.put(&format!("{CSRS}/{object}/approval"), &made).await.code, 200);
    }
    let serving = decided(world, "a26-known").await.expect("the control: a serving certificate");
    let serving = kept(world, "a26-known", &serving, &sign);
    assert_eq!(who(&world.showing(&serving), &[]).await, Err(401), "a kubelet's serving certificate is no client's");
    let middle = decided(world, "a26-ca").await.expect("the control: a client's certificate");
    let chained = chained(world, "a26-chained", &middle, &key, &[], "a26-ca");
    assert_eq!(who(&world.showing(&chained), &[]).await, Err(401), "what a client has signed");
    let client = kept(world, "a26-ca", &middle, &key);
    assert_eq!(who(&world.showing(&client), &[]).await.expect("the control")["username"], "a26-ca");
}

/// A certificate and its key as files.
fn kept(world: &World, file: &str, certificate: &str, key: &KeyPair) -> Identity {
    let paths = (world.dir.path().join(format!("{file}.crt")), world.dir.path().join(format!("{file}.key")));
    std::fs::write(&paths.0, certificate).expect("written");
    std::fs::write(&paths.1, key.serialize_pem()).expect("written");
    paths
}

/// A certificate of a master, signed by a client of these groups and this name, and theirs after it.
fn chained(world: &World, file: &str, middle: &str, key: &KeyPair, groups: &[&str], name: &str) -> Identity {
    let key = KeyPair::from_pem(&key.serialize_pem()).expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(groups, name);
    let issuer = rcgen::Issuer::new(params.clone(), key);
    params.distinguished_name = subject(&["system:masters"], "root");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let own = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&own, &issuer).expect("signed");
    kept(world, file, &format!("{}{middle}", certificate.pem()), &own)
}

/// A certificate that has ended, has not begun, is for servers, or is of somebody else's CA is 401, not a stranger, and
/// does not spoil a token beside it. (A weak key is not tried: no client of ours signs with one.)
pub(crate) async fn a27_certificates_that_are_not_good(world: &World) {
    const DAY: i64 = 86_400;
    let request = || pki::authority::Request {
        common_name: "a27-ann".into(),
        organizations: vec!["system:masters".into()],
        client: true,
        days: 1,
        ..Default::default()
    };
    let good = world.issued(&world.ca, "a27-good", &request(), 0);
    assert_eq!(who(&world.showing(&good), &[]).await.expect("the control")["username"], "a27-ann");
    let served = pki::authority::Request { client: false, server: true, ..request() };
    // Its CA has the same name as the cluster's.
    let twin = authority("kontiki-ca");
    let middle = world.issued(&world.ca, "a27-middle", &request(), 0);
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("a file");
    let key = KeyPair::from_pem(&read(&middle.1)).expect("a key");
    let own = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let alone = params.self_signed(&own).expect("signed").pem();
    let token = world.token("default", json!({})).await.json();
    let token = token["status"]["token"].as_str().expect("a token").to_owned();
    for (what, identity) in [
        ("ended", world.issued(&world.ca, "a27-ended", &request(), 2 * DAY)),
        ("not begun", world.issued(&world.ca, "a27-later", &request(), -DAY)),
        ("for servers", world.issued(&world.ca, "a27-serving", &served, 0)),
        ("of another CA", world.issued(&twin, "a27-twin", &request(), 0)),
        ("of the front proxies' CA", world.issued(&world.front_ca, "a27-front", &request(), 0)),
        ("its own CA", kept(world, "a27-alone", &alone, &own)),
        ("signed by a client", chained(world, "a27-chained", &read(&middle.0), &key, &["system:masters"], "a27-ann")),
    ] {
        let client = world.showing(&identity);
        assert_eq!(who(&client, &[]).await, Err(401), "{what}");
        assert_eq!(client.get("/version").await.code, 401, "{what}: whoever shows one is no stranger");
        let answer = client.send_by(false, "GET", "/api/v1/secrets", &[], "").await;
        assert_eq!(answer.code, 401, "{what}, by HTTP/1.1: {}", answer.status());
        let known = who(&client.with_token(&token), &[]).await.unwrap_or_else(|code| panic!("{what}: {code}"));
        assert_eq!(known["username"], "system:serviceaccount:default:default", "{what}, and a token");
    }
    // Without a name it is nobody's, whatever its groups.
    let nameless = pki::authority::Request { common_name: String::new(), ..request() };
    let nameless = world.showing(&world.issued(&world.ca, "a27-nameless", &nameless, 0));
    let answer = nameless.get("/api/v1/secrets").await;
    assert!([401, 403].contains(&answer.code), "without a name: {}", answer.status());
}

/// Tokens of an issuer are good as far as they say for whom and until when; an issuer that lies, has no end, sends us
/// elsewhere or says nothing keeps its own users out and nobody else. Strangers come in where the file says.
pub(crate) async fn a31_issuers_that_misbehave(_: &World) {
    let dir = tempfile::tempdir().expect("a directory");
    let [good, liar, huge, sender, trap, silent] = std::array::from_fn(|_| Issuer::start(dir.path()));
    liar.misbehave(Fault::Lies(good.url.clone()));
    huge.misbehave(Fault::Huge);
    sender.misbehave(Fault::Redirects(format!("{}/secret", trap.url)));
    silent.misbehave(Fault::Silent);
    let jwt = |issuer: &Issuer| {
        json!({"issuer": {"url": issuer.url, "certificateAuthority": issuer.ca_pem, "audiences": [issuer::AUDIENCE]},
            "claimMappings": {"username": {"claim": "sub", "prefix": "a31:"},
                "groups": {"claim": "groups", "prefix": "a31:"}}})
    };
    let issuers = [&good, &liar, &huge, &sender, &silent].map(jwt);
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": issuers,
        "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]}});
    let file = dir.path().join("authentication.yaml");
    std::fs::write(&file, config.to_string()).expect("written");
    let world = World::with(&["--authentication-config", &file.display().to_string()]);
    world.settle().await;
    let stranger = world.stranger();
    let user = async |token: &str| who(&stranger, &[("authorization", &format!("Bearer {token}"))]).await;

    // One that says nothing has its users wait, for so long.
    let waiting = async {
        let began = Instant::now();
        (user(&silent.token("ann", &[])).await, began.elapsed())
    };
    let others = async {
        let began = Instant::now();
        let known = user(&good.token("ann", &["dev", "system:masters"])).await.expect("the control");
        assert_eq!(known["username"], "a31:ann");
        assert_eq!(known["groups"], json!(["a31:dev", "a31:system:masters", "system:authenticated"]));
        assert!(began.elapsed() < Duration::from_secs(5), "others wait for one that says nothing");
        wrong_tokens(&good, &user).await;
        for (what, issuer) in [("lies", &liar), ("has no end", &huge), ("sends us elsewhere", &sender)] {
            let began = Instant::now();
            assert_eq!(user(&issuer.token("ann", &[])).await, Err(401), "one that {what}");
            assert!(began.elapsed() < Duration::from_secs(5), "one that {what} took {:?}", began.elapsed());
        }
        assert_eq!(trap.asked(), 0, "nobody is sent where only the server can go");
    };
    let ((refused, took), ()) = futures::future::join(waiting, others).await;
    assert_eq!(refused, Err(401));
    assert!(took < Duration::from_secs(15), "it was waited for {took:?}");

    // Tokens that nobody signed do not make the server a nuisance to the issuer.
    let (before, other) = (good.asked(), Signer::generate());
    let forged = other.sign(&json!({"alg": "ES256", "kid": "two"}), &good.claims("ann", &[]));
    let answers = join_all((0..50).map(|_| user(&forged))).await;
    assert!(answers.iter().all(|answer| *answer == Err(401)), "{answers:?}");
    assert!(good.asked() - before <= 6, "it was asked {} times", good.asked() - before);

    assert_eq!(stranger.get("/livez").await.code, 200);
    for path in ["/livez/", "/livez/ping", "/readyz", "/version", "/api", "/livez%2f..%2fapi"] {
        let code = stranger.get(path).await.code;
        assert!(code == 401 || code == 400, "{path}: {code}");
    }
}

/// Tokens of a good issuer that are wrong in one thing each.
async fn wrong_tokens(issuer: &Issuer, user: &impl AsyncFn(&str) -> Result<Value, u16>) {
    let with = |field: &str, value: Value| {
        let mut claims = issuer.claims("ann", &[]);
        claims[field] = value;
        issuer.sign(&claims)
    };
    let one_of = with("aud", json!(["vault", issuer::AUDIENCE]));
    assert_eq!(user(&one_of).await.expect("the control: one of several")["username"], "a31:ann");
    let claims = issuer.claims("ann", &[]);
    let now = issuer::now();
    let hmac = {
        let signed = issuer::unsigned(&json!({"alg": "HS256", "kid": "one"}), &claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, issuer.signer.public_pem().as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
    };
    for (what, token) in [
        ("for somebody else", with("aud", json!("vault"))),
        ("for others", with("aud", json!(["vault", "x"]))),
        ("for nobody", with("aud", json!([]))),
        ("for a part of our name", with("aud", json!(["kube", "rnetes"]))),
        ("for what is no text", with("aud", json!({issuer::AUDIENCE: true}))),
        ("with a slash after the issuer", with("iss", format!("{}/", issuer.url).into())),
        ("of an issuer in capitals", with("iss", issuer.url.to_uppercase().into())),
        ("of the server's own issuer", with("iss", "https://kubernetes.default.svc.cluster.local".into())),
        ("ended", with("exp", (now - 1).into())),
        ("without an end", with("exp", Value::Null)),
        ("not yet", with("nbf", (now + 3600).into())),
        ("of a user that is no text", with("sub", json!(["ann"]))),
        ("of a user without a name", with("sub", Value::Null)),
        ("HS256 with the public key", hmac),
        ("alg none", format!("{}.", issuer::unsigned(&json!({"alg": "none"}), &claims))),
        ("of another key of that name", Signer::generate().sign(&json!({"alg": "ES256", "kid": "one"}), &claims)),
    ] {
        assert_eq!(user(&token).await, Err(401), "{what}");
    }
}
