//! Pods, workloads and namespaces under the Pod Security Standards.

use super::*;

/// A namespace `t` with these labels of Pod Security, and its default account.
fn securing(labels: &[(&str, &str)]) -> Fake {
    let mut namespace = json!({"metadata": {"name": "t", "labels": {}}, "status": {"phase": "Active"}});
    for (key, value) in labels {
        namespace["metadata"]["labels"][format!("pod-security.kubernetes.io/{key}")] = (*value).into();
    }
    Fake::ready().with("namespaces", namespace)
}

fn restricted() -> Fake {
    securing(&[("enforce", "restricted")])
}

/// What restricted allows.
fn strict(mut fields: Value) -> Value {
    let context = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    fields["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    if fields.get("containers").is_none() {
        fields["containers"] = json!([{"name": "c", "image": "i", "securityContext": context}]);
    }
    fields
}

#[test]
fn pod_security_refuses_what_a_namespace_does_not_want() {
    assert_eq!(
        refused_pod(&restricted(), json!({})),
        "403 pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
         (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities \
         (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \
         \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(refused_pod(&restricted(), strict(json!({}))), "admitted");
    assert_eq!(refused_pod(&Fake::ready(), json!({"hostNetwork": true})), "admitted");
    // Whatever is wrong with a label, enforcing fails closed.
    assert!(
        refused_pod(&securing(&[("enforce", "x")]), json!({})).contains("violates PodSecurity \"restricted:latest\"")
    );
}

/// Policy that is evaded through containers, sources and volumes that it does not look at.
#[test]
fn pod_security_looks_at_everything() {
    let bad = json!([{"name": "x", "image": "i", "securityContext": {"privileged": true}}]);
    let view = securing(&[("enforce", "baseline")]);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let told = refused_pod(&view, json!({list: bad}));
        assert!(told.ends_with("privileged (container \"x\" must not set securityContext.privileged=true)"), "{told}");
    }
    for volume in [
        json!({"name": "v", "hostPath": {"path": "/"}}),
        json!({"name": "v", "hostPath": {"path": "/"}, "emptyDir": {}}),
    ] {
        let told = refused_pod(&view, json!({"volumes": [volume]}));
        assert!(told.ends_with("hostPath volumes (volume \"v\")"), "{told}");
    }
    let unset = refused_pod(
        &restricted(),
        strict(json!({"containers": [{"name": "c", "image": "i", "securityContext":
        {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "Unconfined"}}}]})),
    );
    assert!(
        unset.contains("seccompProfile (container \"c\" must not set securityContext.seccompProfile.type"),
        "{unset}"
    );
    // Ephemeral containers come by a subresource.
    let mut debug = request(Operation::Update, "", "pods", "t");
    (debug.subresource, debug.old) = ("ephemeralcontainers", Some(pod(json!({}))));
    let debugged = pod(json!({"serviceAccountName": "default", "ephemeralContainers": bad}));
    let told = debug.refusal(&view, "p", Some(debugged));
    assert!(told.contains("violates PodSecurity \"baseline:latest\": privileged"), "{told}");
    // What does not change what matters is let through: the pod is there already.
    let old = pod(json!({"hostNetwork": true}));
    let mut update = request(Operation::Update, "", "pods", "t");
    update.old = Some(old.clone());
    assert_eq!(update.refusal(&view, "p", Some(old.clone())), "admitted");
    let mut image = old;
    image["spec"]["containers"][0]["image"] = "j".into();
    assert!(update.refusal(&view, "p", Some(image)).contains("host namespaces (hostNetwork=true)"));
}

#[test]
fn pod_security_warns_and_notes() {
    let view = securing(&[("audit", "baseline"), ("warn", "baseline"), ("warn-version", "v1.20")]);
    let bad = json!({"hostNetwork": true, "containers": [{"name": "c"}]});
    let create = request(Operation::Create, "", "pods", "t");
    assert_eq!(create.refusal(&view, "p", Some(pod(bad.clone()))), "admitted");
    let text = "would violate PodSecurity \"baseline:v1.20\": host namespaces (hostNetwork=true)";
    assert_eq!(create.notes.warnings(), [text]);
    let annotations: Vec<String> =
        create.notes.annotations().into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
    expect![[r#"
        pod-security.kubernetes.io/audit-violations: would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)
        pod-security.kubernetes.io/enforce-policy: privileged:latest
    "#]]
    .assert_eq(&(annotations.join("\n") + "\n"));
    // Workloads are only warned of: their pods are refused.
    let enforcing = securing(&[("enforce", "baseline")]);
    for (group, plural, object) in [
        ("apps", "deployments", json!({"spec": {"template": {"spec": bad}}})),
        ("batch", "cronjobs", json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": bad}}}}})),
        ("", "podtemplates", json!({"template": {"spec": bad}})),
        ("", "replicationcontrollers", json!({"spec": {"template": {"spec": bad}}})),
    ] {
        let create = request(Operation::Create, group, plural, "t");
        assert_eq!(create.refusal(&enforcing, "x", Some(object)), "admitted");
        let text = "would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
        assert_eq!(create.notes.warnings(), [text], "{plural}");
    }
    // A refusal needs no warning.
    let create = request(Operation::Create, "", "pods", "t");
    assert!(create.refusal(&enforcing, "p", Some(pod(bad))).contains("violates PodSecurity"));
    assert!(create.notes.warnings().is_empty());
}

#[test]
fn pod_security_labels_of_namespaces() {
    let view = Fake::ready().with("pods", pod(json!({"hostNetwork": true})));
    let namespace = |labels: Value| json!({"metadata": {"name": "t", "labels": labels}});
    let create = |labels| {
        let create = request(Operation::Create, "", "namespaces", "");
        create.refusal(&view, "t", Some(namespace(labels)))
    };
    assert_eq!(create(json!({"pod-security.kubernetes.io/enforce": "baseline"})), "admitted");
    assert_eq!(
        create(json!({"pod-security.kubernetes.io/enforce": "strict"})),
        "422  \"t\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": \
         must be one of privileged, baseline, restricted"
    );
    let wrong = json!({"pod-security.kubernetes.io/warn-version": "1.2"});
    let mut update = request(Operation::Update, "", "namespaces", "");
    update.old = Some(namespace(json!({})));
    assert!(update.refusal(&view, "t", Some(namespace(wrong.clone()))).starts_with("422"));
    // What was wrong before may stay.
    update.old = Some(namespace(wrong.clone()));
    assert_eq!(update.refusal(&view, "t", Some(namespace(wrong))), "admitted");
    assert!(update.notes.warnings().is_empty());
    assert_eq!(
        update.refusal(&view, "t", Some(namespace(json!({"pod-security.kubernetes.io/enforce": "baseline"})))),
        "admitted"
    );
    assert_eq!(
        update.notes.warnings(),
        [
            "existing pods in namespace \"t\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "p: host namespaces"
        ]
    );
}
