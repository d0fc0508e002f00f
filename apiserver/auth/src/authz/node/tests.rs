use std::collections::HashMap;

use api_machinery::ApiError;
use api_machinery::fields::FieldSelector;

use super::*;

/// Objects by resource, namespace and name; pods of `n1`.
struct Held(HashMap<(&'static str, &'static str, &'static str), Arc<Value>>, Vec<Arc<References>>);

#[async_trait]
impl Objects for Held {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.get(&(&*resource.resource, namespace, name)).cloned()
    }
    fn references_on_node(&self, node: &str) -> Vec<Arc<References>> {
        if node == "n1" { self.1.clone() } else { Vec::new() }
    }
    async fn refresh(&self) -> Result<(), ApiError> {
        Ok(())
    }
}

fn authorizer() -> Arc<NodeAuthorizer> {
    let pod = json!({"metadata": {"namespace": "a", "name": "p"},
        "spec": {"serviceAccountName": "web", "nodeName": "n1",
            "volumes": [{"projected": {"sources": [{"configMap": {"name": "root-ca"}}]}},
                {"persistentVolumeClaim": {"claimName": "data"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}],
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "db"}}}]}]},
        "status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "p-gpu"}]}});
    let mirror = json!({"metadata": {"namespace": "a", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "n1", "volumes": [{"secret": {"secretName": "stolen"}}]}});
    let read: References = serde_json::from_str(&pod.to_string()).expect("a pod");
    assert_eq!(read, References::of(&pod));
    let claim = json!({"spec": {"volumeName": "pv1"}});
    let volume = json!({"spec": {"claimRef": {"namespace": "a", "name": "data"}, "csi": {
        "nodeStageSecretRef": {"namespace": "storage", "name": "mount"},
        "controllerExpandSecretRef": {"namespace": "storage", "name": "expand"}}}});
    // Another volume that says it is the claim's: the claim does not say so.
    let liar = json!({"spec": {"claimRef": {"namespace": "b", "name": "data"}, "csi": {
        "nodeStageSecretRef": {"namespace": "storage", "name": "liar"}}}});
    let on = |node: &str| Arc::new(json!({"spec": {"nodeName": node}}));
    let objects = HashMap::from([
        (("persistentvolumeclaims", "a", "data"), Arc::new(claim)),
        (("persistentvolumes", "", "pv1"), Arc::new(volume)),
        (("persistentvolumes", "", "pv2"), Arc::new(liar)),
        (("pods", "a", "p"), on("n1")),
        (("pods", "a", "q"), on("n2")),
        (("volumeattachments", "", "va1"), on("n1")),
        (("volumeattachments", "", "va2"), on("n2")),
        (("resourceslices", "", "s1"), on("n1")),
    ]);
    Arc::new(NodeAuthorizer::new(Arc::new(Held(objects, vec![Arc::new(read), Arc::new(References::of(&mirror))]))))
}

/// `NODE VERB [GROUP/]RESOURCE[/SUB] [NAMESPACE/]NAME [FIELD=VALUE]`, `-` for none.
fn asked(text: &str) -> AuthzAttributes {
    let mut words = text.split(' ');
    let mut word = || words.next().expect("a word");
    let (node, verb, what, place) = (word(), word(), word(), word());
    let (group, what) = what.split_once(':').unwrap_or(("", what));
    let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    let selector = words.next().map(|text| FieldSelector::parse(text).expect("a selector"));
    AuthzAttributes {
        user: UserInfo { name: format!("{USER_PREFIX}{node}"), groups: vec![GROUP.into()], ..Default::default() },
        verb: verb.into(),
        resource_request: true,
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: if name == "-" { String::new() } else { name.into() },
        field_selector: selector.unwrap_or_default().terms,
        ..Default::default()
    }
}

#[test]
fn nodes_reach_what_is_theirs() {
    let authorizer = authorizer();
    for (text, allowed) in [
        ("n1 get secrets a/db", true),
        ("n1 watch configmaps a/root-ca", true),
        ("n1 get secrets a/other", false),
        ("n1 list secrets a/-", false),
        ("n1 list secrets -", false),
        ("n1 get secrets b/db", false),
        ("n2 get secrets a/db", false),
        ("n1 update secrets a/db", false),
        ("n1 get secrets a/stolen", false),
        ("n1 create serviceaccounts/token a/web", true),
        ("n1 create serviceaccounts/token a/admin", false),
        ("n1 create serviceaccounts a/web", false),
        ("n1 get serviceaccounts a/web", true),
        ("n1 list serviceaccounts a/web", false),
        ("n1 get persistentvolumeclaims a/data", true),
        ("n1 get persistentvolumeclaims a/p-scratch", true),
        ("n1 list persistentvolumeclaims a/data", false),
        ("n1 patch persistentvolumeclaims/status a/data", true),
        ("n2 patch persistentvolumeclaims/status a/data", false),
        ("n1 get persistentvolumes pv1", true),
        ("n1 get persistentvolumes pv2", false),
        ("n2 get persistentvolumes pv1", false),
        ("n1 get secrets storage/mount", true),
        ("n1 get secrets storage/expand", false),
        ("n1 get secrets storage/liar", false),
        ("n1 get storage.k8s.io:volumeattachments va1", true),
        ("n1 get storage.k8s.io:volumeattachments va2", false),
        ("n1 get resource.k8s.io:resourceclaims a/p-gpu", true),
        ("n1 get resource.k8s.io:resourceclaims a/gpu", false),
        ("n1 patch nodes/status n1", true),
        ("n1 get nodes n1", true),
        ("n1 get nodes n2", false),
        ("n1 list nodes -", false),
        ("n1 delete nodes n1", false),
        ("n1 get nodes/proxy n1", false),
        ("n1 get pods a/p", true),
        ("n1 get pods a/q", false),
        ("n1 get pods/log a/p", false),
        ("n1 list pods -", false),
        ("n1 watch pods - spec.nodeName=n1", true),
        ("n1 watch pods - spec.nodeName=n2", false),
        ("n1 watch pods - spec.nodeName!=n1", false),
        ("n1 create pods/eviction a/q", true),
        ("n1 create pods/exec a/p", false),
        ("n1 update coordination.k8s.io:leases kube-node-lease/n1", true),
        ("n1 update coordination.k8s.io:leases kube-node-lease/n2", false),
        ("n1 list coordination.k8s.io:leases kube-node-lease/-", false),
        ("n1 update coordination.k8s.io:leases kube-system/kube-scheduler", false),
        ("n1 update storage.k8s.io:csinodes n1", true),
        ("n1 update storage.k8s.io:csinodes n2", false),
        ("n1 delete resource.k8s.io:resourceslices s1", true),
        ("n2 delete resource.k8s.io:resourceslices s1", false),
        ("n1 deletecollection resource.k8s.io:resourceslices - spec.nodeName=n1", true),
        ("n1 deletecollection resource.k8s.io:resourceslices -", false),
        ("n1 list services -", true),
        ("n1 delete apps:deployments a/x", false),
    ] {
        assert_eq!(authorizer.decide(&asked(text)).allowed(), allowed, "{text}");
    }
}

#[test]
fn nobody_else_is_a_node() {
    let authorizer = authorizer();
    let mut outsider = asked("n1 get secrets a/db");
    outsider.user.groups.clear();
    assert_eq!(authorizer.decide(&outsider), Decision::no_opinion());
    assert_eq!(authorizer.rules_incomplete(&outsider.user, "a"), Incomplete::default());
    let node = asked("n1 list nodes -");
    let reason = "node 'n1' cannot read all nodes, only its own Node object".to_owned();
    assert_eq!(authorizer.decide(&node), Decision::NoOpinion { reason });
    let errors = vec!["node authorizer does not support user rule resolution".to_owned()];
    let incomplete = Incomplete { incomplete: true, errors };
    assert_eq!(authorizer.rules_incomplete(&node.user, "a"), incomplete);
    assert_eq!(authorizer.rules_for(&node.user, "a"), (Vec::new(), Vec::new()));
    let nameless = asked(" get nodes n1");
    let reason = "unknown node for user \"system:node:\"".to_owned();
    assert_eq!(authorizer.decide(&nameless), Decision::NoOpinion { reason });
    assert_eq!(authorizer.rules_incomplete(&nameless.user, "a"), incomplete);
}
