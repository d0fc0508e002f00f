//! Somebody else who knows tokens, and somebody else who decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Elsewhere, Reply, json as reply};
use api_auth::authn::webhook::{TokenWebhook, Version};
use api_auth::authn::{Audiences, Authenticator, Credentials};
use api_auth::authz::webhook::Webhook;
use api_auth::authz::{Authorizer, AuthzAttributes, Decision};
use api_auth::config::authorization::AuthorizationConfiguration;
use api_machinery::UserInfo;
use serde_json::{Value, json};

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn body(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

async fn who(hook: &TokenWebhook, token: &str) -> Result<Option<String>, u16> {
    let credentials = Credentials { bearer_token: Some(token.to_owned()), ..Credentials::default() };
    hook.authenticate(&credentials).await.map(|user| user.map(|user| user.name)).map_err(|error| error.code)
}

#[tokio::test]
async fn tokens_that_somebody_else_knows() {
    let failures = Arc::new(AtomicUsize::new(0));
    let left = failures.clone();
    let server = Elsewhere::start(move |asked| {
        if left.load(Ordering::SeqCst) > 0 {
            left.fetch_sub(1, Ordering::SeqCst);
            return Some(Reply(503, String::new(), String::new()));
        }
        let review = body(&asked.body);
        let status = match review["spec"]["token"].as_str() {
            Some("good") => json!({"authenticated": true, "user": {"username": "ann", "groups": ["dev"]}}),
            Some("vault") => json!({"authenticated": true, "user": {"username": "ann"}, "audiences": ["vault"]}),
            Some("broken") => return Some(reply("{")),
            Some("unfit") => return Some(reply(json!({"kind": "Status", "status": "Success"}))),
            _ => json!({"authenticated": false, "error": "who is that"}),
        };
        Some(reply(json!({"apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status})))
    })
    .await;
    let file = server.kubeconfig("/authn?x=1", json!({"token": "secret"}));
    let load = |ttl| TokenWebhook::load(&file, Version::V1, ttl, list(&["api"])).expect("a webhook");
    let hook = load(Duration::from_secs(60));
    assert_eq!(who(&hook, "good").await, Ok(Some("ann".to_owned())));
    assert_eq!(who(&hook, "good").await, Ok(Some("ann".to_owned())));
    assert_eq!(server.count(), 1, "the answer was kept");
    {
        let asked = server.asked.lock().expect("no panic");
        assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("POST", "/authn?x=1"));
        assert!(asked[0].headers.contains("authorization: Bearer secret"), "{}", asked[0].headers);
        let review = body(&asked[0].body);
        assert_eq!(
            (&review["apiVersion"], &review["kind"]),
            (&json!("authentication.k8s.io/v1"), &json!("TokenReview"))
        );
        assert_eq!(review["spec"], json!({"token": "good", "audiences": ["api"]}));
    }
    assert_eq!(who(&hook, "nobody").await, Ok(None));
    assert_eq!(who(&hook, "vault").await, Ok(None), "for somebody else");
    let own = list(&["api"]);
    let wanted = list(&["vault", "x"]);
    let reviewed = hook.review("vault", Audiences { wanted: &wanted, own: &own }).await.expect("an answer");
    assert_eq!(reviewed.map(|(user, fitting)| (user.name, fitting)), Some(("ann".to_owned(), list(&["vault"]))));
    assert_eq!(who(&hook, "broken").await, Err(401));
    assert_eq!(who(&hook, "unfit").await, Err(401));
    // One that is busy is asked again; nothing is kept where that is off.
    let hook = load(Duration::ZERO);
    failures.store(1, Ordering::SeqCst);
    let before = server.count();
    assert_eq!(who(&hook, "good").await, Ok(Some("ann".to_owned())));
    assert_eq!(server.count(), before + 2);
    assert_eq!(who(&hook, "good").await, Ok(Some("ann".to_owned())));
    assert_eq!(server.count(), before + 3);
}

fn webhook(server: &Elsewhere, more: Value) -> Webhook {
    let file = server.kubeconfig("/authz", json!({}));
    let mut webhook = json!({"timeout": "1s", "subjectAccessReviewVersion": "v1", "failurePolicy": "NoOpinion",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": file}});
    for (field, value) in more.as_object().expect("an object") {
        webhook[field] = value.clone();
    }
    let document = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
        "authorizers": [{"type": "Webhook", "name": "hook", "webhook": webhook}]});
    let config = AuthorizationConfiguration::parse(&document.to_string()).expect("a configuration");
    Webhook::new("hook", config.authorizers[0].webhook.as_ref().expect("a webhook")).expect("a webhook")
}

fn asked(verb: &str) -> AuthzAttributes {
    AuthzAttributes {
        user: UserInfo { name: "ann".to_owned(), groups: vec!["dev".to_owned()], ..UserInfo::default() },
        verb: verb.to_owned(),
        resource_request: true,
        resource: "pods".to_owned(),
        ..AuthzAttributes::default()
    }
}

async fn decider() -> Elsewhere {
    Elsewhere::start(|asked| {
        let review = body(&asked.body);
        let status = match review["spec"]["resourceAttributes"]["verb"].as_str() {
            Some("get") => json!({"allowed": true, "reason": "because"}),
            Some("list") => json!({"allowed": false, "denied": true, "reason": "never"}),
            Some("watch") => json!({"allowed": true, "denied": true}),
            Some("patch") => return Some(Reply(403, String::new(), String::new())),
            Some("delete") => return None,
            _ => json!({"allowed": false, "reason": "perhaps somebody else"}),
        };
        Some(reply(json!({"apiVersion": review["apiVersion"], "kind": "SubjectAccessReview", "status": status})))
    })
    .await
}

#[tokio::test]
async fn what_somebody_else_decides() {
    let server = decider().await;
    let hook = webhook(&server, json!({}));
    for (verb, decision) in [
        ("get", Decision::Allow { reason: "because".into() }),
        ("list", Decision::Deny { reason: "never".into() }),
        ("create", Decision::NoOpinion { reason: "perhaps somebody else".into() }),
    ] {
        for _ in 0..2 {
            assert_eq!(hook.authorize(&asked(verb)).await, decision, "{verb}");
        }
    }
    assert_eq!(server.count(), 3, "each answer was kept");
    let both = hook.authorize(&asked("watch")).await;
    assert!(matches!(both, Decision::Failed { denied: true, .. }), "{both:?}");
    assert!(hook.rules_incomplete(&UserInfo::default(), "x").incomplete);
    let uncached = webhook(&server, json!({"cacheAuthorizedRequests": false, "subjectAccessReviewVersion": "v1beta1"}));
    let before = server.count();
    for _ in 0..2 {
        assert!(uncached.authorize(&asked("get")).await.allowed());
        assert!(!uncached.authorize(&asked("create")).await.allowed());
    }
    assert_eq!(server.count() - before, 3, "a yes is asked for again, the rest is kept");
    let last = server.asked.lock().expect("no panic").pop().expect("asked");
    let review = body(&last.body);
    assert_eq!(review["apiVersion"], "authorization.k8s.io/v1beta1");
    assert_eq!((&review["spec"]["group"], review["spec"].get("groups")), (&json!(["dev"]), None));
}

#[tokio::test]
async fn what_becomes_of_a_request_when_it_fails() {
    let server = decider().await;
    for (policy, denied) in [("NoOpinion", false), ("Deny", true)] {
        let hook = webhook(&server, json!({"failurePolicy": policy}));
        for verb in ["patch", "delete"] {
            let decision = hook.authorize(&asked(verb)).await;
            assert!(
                matches!(&decision, Decision::Failed { denied: found, .. } if *found == denied),
                "{policy} {decision:?}"
            );
        }
        let before = server.count();
        assert!(!hook.authorize(&asked("patch")).await.allowed());
        assert_eq!(server.count(), before + 1, "a failure is not kept");
    }
}
