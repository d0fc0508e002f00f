//! Writes of this process's own components: controllers, scheduler, the server itself.

use std::sync::Arc;

use api_audit::event::{ResponseStatus, Stage};
use api_audit::policy::Attributes;
use api_audit::record::{DECISION, REVISION, Record, Request};
use api_audit::{Auditor, meter};
use api_registry::{Witness, Witnessed};
use async_trait::async_trait;

/// Where upstream's components are seen to be when they run beside their API server.
const SOURCE: &str = "::1";
const AGENT: &str = "kontiki (in-process)";

pub(crate) struct Inside(pub(crate) Arc<Auditor>);

/// The path a client would have used.
fn path(write: &Witnessed<'_>) -> String {
    let (target, gv) = (write.target, &write.target.resource.gv);
    let mut path = if gv.group.is_empty() { format!("/api/{}", gv.version) } else { format!("/apis/{gv}") };
    if !target.namespace.is_empty() {
        path.push_str(&format!("/namespaces/{}", target.namespace));
    }
    for part in [target.resource.plural.as_str(), target.name, target.subresource] {
        if !part.is_empty() {
            path.push('/');
            path.push_str(part);
        }
    }
    path
}

fn attributes<'a>(write: &'a Witnessed<'a>, path: &'a str) -> Attributes<'a> {
    let target = write.target;
    Attributes {
        user: Some(&write.info.user),
        verb: write.verb,
        is_resource: true,
        group: &target.resource.gv.group,
        version: &target.resource.gv.version,
        resource: &target.resource.plural,
        subresource: target.subresource,
        namespace: target.namespace,
        name: if target.name.is_empty() { write.name } else { target.name },
        path,
    }
}

#[async_trait]
impl Witness for Inside {
    async fn saw(&self, write: Witnessed<'_>) {
        let uri = path(&write);
        let asked = attributes(&write, &uri);
        let decision = self.0.policy.decide(&asked);
        meter::level(decision.level);
        let now = (self.0.now)();
        let request = Request {
            audit_id: new_id(),
            received: now,
            uri: uri.clone(),
            source_ips: vec![SOURCE.to_owned()],
            user_agent: AGENT.to_owned(),
        };
        let Some(mut record) = Record::open(decision, &asked, request) else { return };
        record.annotate(DECISION, "allow");
        if let Some(revision) = write.revision {
            record.annotate(REVISION, revision.to_string());
        }
        record.status(match write.outcome {
            Ok(code) => ResponseStatus::code(code),
            Err(error) => ResponseStatus::of(&error.to_status(), error.code),
        });
        if let Some(event) = record.at(Stage::ResponseComplete, now) {
            meter::event();
            self.0.process(event).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "audit ids are unique, and nothing is decided by them")]
fn new_id() -> String {
    let id = format!("{:032x}", rand::random::<u128>());
    format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..])
}

#[cfg(test)]
mod tests {
    use api_audit::backend::Backend;
    use api_audit::event::Event;
    use api_audit::policy::Policy;
    use api_machinery::ApiError;
    use api_registry::{RequestInfo, Target};
    use api_schema::Schema;
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Arc<Event>>>);

    #[async_trait]
    impl Backend for Kept {
        fn name(&self) -> &'static str {
            "test"
        }
        async fn process(&self, events: &[Arc<Event>]) -> bool {
            self.0.lock().expect("not poisoned").extend_from_slice(events);
            true
        }
    }

    #[tokio::test]
    async fn a_controllers_write_is_recorded_as_a_clients_would_be() {
        let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, resources: [{resources: [secrets]}]}, {level: Request}]";
        let (policy, _) = Policy::read(policy).expect("a good policy");
        let kept = Arc::new(Kept::default());
        let auditor = Arc::new(Auditor { policy, backends: vec![kept.clone()], now: crate::now });
        let info = RequestInfo::internal("system:kube-controller-manager");
        let resource = |group: &str, plural: &str| Schema::builtin().resource(group, "v1", plural).expect("is served");
        let error = ApiError::unavailable("not now");
        for (resource, name, revision, outcome) in [
            (resource("apps", "replicasets"), "made", Some(7), Ok(201)),
            (resource("", "secrets"), "secret", Some(8), Ok(201)),
            (resource("", "pods"), "", None, Err(&error)),
        ] {
            let target = Target { resource, namespace: "a", name: "", subresource: "" };
            let write = Witnessed { info: &info, verb: "create", target: &target, name, revision, outcome };
            Inside(auditor.clone()).saw(write).await;
        }
        let kept = kept.0.lock().expect("not poisoned");
        let shown: Vec<serde_json::Value> =
            kept.iter().map(|event| serde_json::from_str(&event.to_json().expect("JSON")).expect("JSON")).collect();
        assert_eq!(shown.len(), 2, "the secret is left out");
        assert_eq!(shown[0]["requestURI"], "/apis/apps/v1/namespaces/a/replicasets");
        assert_eq!((&shown[0]["objectRef"]["name"], &shown[0]["annotations"][REVISION]), (&"made".into(), &"7".into()));
        assert_eq!(
            (&shown[1]["responseStatus"]["code"], &shown[1]["requestURI"]),
            (&503.into(), &"/api/v1/namespaces/a/pods".into())
        );
        assert_eq!(shown[0]["auditID"].as_str().map(str::len), Some(36));
    }
}
