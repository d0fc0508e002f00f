//! Certificates, owners, nodes and quotas, and what is off by default.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;

fn with(plugin: &str, mut request: Request<'static>) -> Request<'static> {
    request.settings.enable.push(plugin.to_owned());
    request
}

fn may(acts: &[&'static str]) -> Option<May> {
    Some(May(acts.to_vec()))
}

const CERTIFICATES: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

#[test]
fn certificates_by_the_rights_to_a_signer() {
    let csr =
        |status: Value| json!({"metadata": {"name": "r"}, "spec": {"signerName": "example.com/s"}, "status": status});
    let update = |subresource: &'static str, acts: &[&'static str]| {
        let mut request = request(Operation::Update, CERTIFICATES, REQUESTS, "");
        (request.subresource, request.old, request.may) = (subresource, Some(csr(json!({}))), may(acts));
        request
    };
    let approved = csr(json!({"conditions": [{"type": "Approved"}]}));
    let refusal = |subresource, acts: &[&'static str]| {
        update(subresource, acts).refusal(&Fake::ready(), "r", Some(approved.clone()))
    };
    let told = [
        refusal("approval", &[]),
        refusal("approval", &["approve certificates.k8s.io/signers /example.com/s"]),
        refusal("approval", &["approve certificates.k8s.io/signers /example.com/*"]),
        refusal("status", &["approve certificates.k8s.io/signers /example.com/s"]),
        refusal("status", &["sign certificates.k8s.io/signers /example.com/*"]),
        update("status", &[]).refusal(&Fake::ready(), "r", Some(csr(json!({"other": 1})))),
        refusal("", &[]),
    ];
    expect![[r#"
        403 certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with signerName "example.com/s"
        admitted
        admitted
        403 certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to sign requests with signerName "example.com/s"
        admitted
        admitted
        admitted
    "#]].assert_eq(&(told.join("\n") + "\n"));
    // A component of this process is not asked.
    let mut own = update("approval", &[]);
    own.may = None;
    assert_eq!(own.refusal(&Fake::ready(), "r", Some(approved)), "admitted");
}

/// `openssl req -new -newkey ed25519 -nodes -subj /O=GROUP/CN=u`
const OF_MASTERS: &str = "-----BEGIN CERTIFICATE REQUEST-----\n\
MIGkMFgCAQAwJTEXMBUGA1UECgwOc3lzdGVtOm1hc3RlcnMxCjAIBgNVBAMMAXUw\n\
KjAFBgMrZXADIQDkhhOf8VwnomDl7njenh3EdaLMEm7qVuzH8U884OWsnaAAMAUG\n\
AytlcANBAGHYV+Cdy7ATIF7y+e4ym6FpHyYnyCQE7xzLRKvCtSWLXXjEgeqVpAQc\n\
/AABkxbEz30qubqCxUNpjOD2U5Uy/Qk=\n\
-----END CERTIFICATE REQUEST-----\n\
";
const OF_DEVELOPERS: &str = "-----BEGIN CERTIFICATE REQUEST-----\n\
MIGgMFQCAQAwITETMBEGA1UECgwKZGV2ZWxvcGVyczEKMAgGA1UEAwwBdTAqMAUG\n\
AytlcAMhAJBy+Kk9BfQ+76UZyKIfysnR2SNgH4wKpwUJHaGTYk/boAAwBQYDK2Vw\n\
A0EAGL978okkNSaGJgF0vXDyCxejnZzgl+8cC7N5nGRWGj9Bu4rZiIkcJAPzCVaL\n\
0roMppDfJ131PHU9X4boqPCBDQ==\n\
-----END CERTIFICATE REQUEST-----\n\
";

#[test]
fn nobody_becomes_a_master_by_a_certificate() {
    let ask = |signer: &str, pem: &str| {
        let body =
            json!({"metadata": {"name": "r"}, "spec": {"signerName": signer, "request": BASE64_STANDARD.encode(pem)}});
        request(Operation::Create, CERTIFICATES, REQUESTS, "").refusal(&Fake::ready(), "r", Some(body))
    };
    let client = "kubernetes.io/kube-apiserver-client";
    let told = [
        ask(client, OF_DEVELOPERS),
        ask(client, OF_MASTERS),
        ask("example.com/other", OF_MASTERS),
        ask(client, "nonsense"),
        ask(client, "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
            .chars()
            .take(80)
            .collect(),
    ];
    expect![[r#"
        admitted
        403 certificatesigningrequests.certificates.k8s.io "r" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed
        admitted
        403 certificatesigningrequests.certificates.k8s.io "r" is forbidden: failed to parse CSR: PEM block type must be CERTIFICATE REQUEST
        403 certificatesigningrequests.certificates.k8s.io "r" is forbidden: failed to p
    "#]].assert_eq(&(told.join("\n") + "\n"));
}

#[test]
fn owners_only_with_the_right_to_delete() {
    let owned = |block: bool, uid: &str| {
        json!({"metadata": {"name": "m", "namespace": "t", "ownerReferences": [{"apiVersion": "apps/v1",
            "kind": "ReplicaSet", "name": "s", "uid": uid, "blockOwnerDeletion": block}]}})
    };
    let plain = json!({"metadata": {"name": "m", "namespace": "t"}});
    let ask = |operation, acts: &[&'static str], old: Option<Value>, new: Value| {
        let mut request = with("OwnerReferencesPermissionEnforcement", request(operation, "", "configmaps", "t"));
        (request.may, request.old) = (may(acts), old);
        request.refusal(&Fake::ready(), "m", Some(new))
    };
    let mut unknown = owned(true, "1");
    unknown["metadata"]["ownerReferences"][0]["kind"] = "Widget".into();
    use Operation::{Create, Update};
    let (delete, finalize) = ("delete /configmaps t/m", "update apps/replicasets/finalizers t/s");
    let told = [
        ask(Create, &[], None, owned(false, "1")),
        ask(Create, &[], None, owned(true, "1")),
        ask(Create, &[finalize], None, owned(true, "1")),
        ask(Create, &["update */*/finalizers /*"], None, owned(true, "1")),
        ask(Create, &[], None, unknown),
        ask(Update, &[], Some(plain.clone()), owned(false, "1")),
        ask(Update, &[delete], Some(plain), owned(false, "1")),
        ask(Update, &[delete], Some(owned(false, "1")), owned(true, "1")),
        ask(Update, &[], Some(owned(true, "1")), owned(true, "1")),
        ask(Update, &[delete], Some(owned(true, "1")), owned(true, "2")),
    ];
    expect![[r#"
        admitted
        403 configmaps "m" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>
        admitted
        admitted
        403 configmaps "m" is forbidden: cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion apps/v1 Kind Widget: no matches for kind "Widget" in version "apps/v1"
        403 configmaps "m" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>
        admitted
        403 configmaps "m" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>
        admitted
        403 configmaps "m" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>
    "#]].assert_eq(&(told.join("\n") + "\n"));
}

#[test]
fn pods_know_where_their_node_is() {
    let labels = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o"});
    let view = Fake::ready().with("nodes", json!({"metadata": {"name": "n", "labels": labels}}));
    let mut bind = request(Operation::Create, "", "pods", "t");
    bind.subresource = "binding";
    let bound = |kind: &str, name: &str| {
        let binding = json!({"metadata": {"name": "p"}, "target": {"kind": kind, "name": name}});
        bind.run(&view, "p", Some(binding)).expect("admitted")["metadata"]["labels"].clone()
    };
    let topology = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"});
    assert_eq!(bound("Node", "n"), topology);
    assert_eq!((bound("Other", "n"), bound("Node", "nosuch")), (Value::Null, Value::Null));
    let on = create_pod(&view, json!({"nodeName": "n"})).expect("admitted");
    assert_eq!(on["metadata"]["labels"], topology);
}

#[test]
fn a_resize_must_fit_its_node() {
    let node = |name: &str, os: &str, features: Value| {
        json!({"metadata": {"name": name, "labels": {"kubernetes.io/os": os}},
               "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}, "declaredFeatures": features}})
    };
    let view = Fake::ready()
        .with("nodes", node("linux", "linux", json!([])))
        .with("nodes", node("new", "linux", json!(["InPlacePodLevelResourcesVerticalScaling"])))
        .with("nodes", node("windows", "windows", json!([])));
    let sized = |node: &str, cpu: &str, generation: i64| {
        let mut pod = pod(json!({"nodeName": node, "containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu, "memory": "512Mi"}}}]}));
        pod["metadata"]["generation"] = generation.into();
        pod
    };
    let resize = |node: &str, cpu: &str| {
        let mut resize = request(Operation::Update, "", "pods", "t");
        (resize.subresource, resize.old) = ("resize", Some(sized(node, "1", 1)));
        resize.run(&view, "p", Some(sized(node, cpu, 2)))
    };
    assert!(resize("linux", "2").is_ok());
    let refused = resize("linux", "2500m").expect_err("refused");
    assert_eq!(
        refused.message,
        "pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000"
    );
    assert_eq!(refused.to_status()["details"]["causes"], json!([{"reason": "NodeCapacity"}]));
    let refused = resize("windows", "2").expect_err("refused");
    assert_eq!(refused.to_status()["details"]["causes"], json!([{"reason": "UnsupportedPlatform"}]));
    assert_eq!(
        refused.message,
        "pods \"p\" is forbidden: pod resize is only supported on linux nodes, node \"windows\" is \"windows\""
    );
    assert_eq!(resize("gone", "2").expect_err("refused").message, "pods \"p\" is forbidden: node \"gone\" not found");
    // What only newer kubelets can do.
    let whole = |node: &str| {
        let mut resize = request(Operation::Update, "", "pods", "t");
        (resize.subresource, resize.old) = ("resize", Some(sized(node, "1", 1)));
        let mut new = sized(node, "1", 2);
        new["spec"]["resources"] = json!({"requests": {"cpu": "1"}});
        resize.refusal(&view, "p", Some(new))
    };
    assert_eq!(whole("new"), "admitted");
    assert_eq!(
        whole("linux"),
        "403 pods \"p\" is forbidden: pod update requires features InPlacePodLevelResourcesVerticalScaling which are not \
         available on node \"linux\""
    );
}

#[test]
fn quotas_are_charged_for_what_is_written() {
    let chain = Chain::standard();
    let quota = json!({"metadata": {"name": "q", "namespace": "t"}, "spec": {"hard": {"configmaps": "1"}},
        "status": {"hard": {"configmaps": "1"}, "used": {"configmaps": "0"}}});
    let maps = resource("", "configmaps", true);
    let user = UserInfo::default();
    let notes = Notes::default();
    let attributes = |operation, old| Attributes {
        operation,
        resource: &maps,
        subresource: "",
        namespace: "t",
        name: "m",
        user: &user,
        old,
        dry_run: false,
        now: Timestamp::UNIX_EPOCH,
        rights: None,
        notes: &notes,
    };
    let map = json!({"metadata": {"name": "m", "namespace": "t"}});
    let create = attributes(Operation::Create, None);
    assert!(chain.counts(&create, &map) && !chain.counts(&attributes(Operation::Update, Some(&map)), &map));
    let raised = chain.charge(&create, &map, &[&quota]).expect("room");
    assert_eq!(raised[0]["status"]["used"], json!({"configmaps": "1"}));
    let refused = chain.charge(&create, &map, &[&raised[0]]).expect_err("full");
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            403,
            "configmaps \"m\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1"
        )
    );
}

#[test]
fn pods_under_plugins_that_are_off_by_default() {
    let namespace = json!({"metadata": {"name": "t", "annotations": {
        "scheduler.alpha.kubernetes.io/node-selector": "pool=a",
        "scheduler.alpha.kubernetes.io/defaultTolerations": "[{\"key\": \"k\", \"operator\": \"Exists\"}]",
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist":
            "[{\"key\": \"k\", \"operator\": \"Exists\"}, {\"operator\": \"Exists\", \"effect\": \"NoExecute\"}]"}},
        "status": {"phase": "Active"}});
    let view = Fake::ready().with("namespaces", namespace);
    let create = |plugin: &str, spec: Value| {
        with(plugin, request(Operation::Create, "", "pods", "t")).run(&view, "p", Some(pod(spec)))
    };
    let refused = |plugin: &str, spec: Value| create(plugin, spec).expect_err("refused").message;
    let admitted = |plugin: &str, spec: Value| create(plugin, spec).expect("admitted")["spec"].clone();
    let pulled = admitted("AlwaysPullImages", json!({"volumes": [{"name": "v", "image": {"reference": "r"}}]}));
    assert_eq!(pulled["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(pulled["volumes"][0]["image"]["pullPolicy"], "Always");
    assert_eq!(admitted("PodNodeSelector", json!({}))["nodeSelector"], json!({"pool": "a"}));
    let told = [
        refused("PodNodeSelector", json!({"nodeSelector": {"pool": "b"}})),
        refused("AlwaysDeny", json!({})),
        refused("PodTolerationRestriction", json!({"tolerations": [{"key": "x", "operator": "Exists"}]})),
        refused(
            "LimitPodHardAntiAffinityTopology",
            json!({"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}}),
        ),
    ];
    expect![[r#"
        pods "p" is forbidden: pod node label selector conflicts with its namespace node label selector
        pods "p" is forbidden: admission control is denying all modifications
        pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist
        pods "p" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed
    "#]].assert_eq(&(told.join("\n") + "\n"));
    assert_eq!(admitted("PodTolerationRestriction", json!({}))["tolerations"].as_array().map(Vec::len), Some(3));
    let gpu = json!({"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}]});
    assert_eq!(
        admitted("ExtendedResourceToleration", gpu)["tolerations"].as_array().and_then(|list| list.last()).cloned(),
        Some(json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}))
    );
    assert!(create("AlwaysAdmit", json!({})).is_ok());
}

#[test]
fn services_and_namespaces_under_plugins_that_are_off_by_default() {
    let service = |addresses: Value| json!({"metadata": {"name": "s"}, "spec": {"externalIPs": addresses}});
    let deny = |old: Option<Value>, new: Value| {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let mut request = with("DenyServiceExternalIPs", request(operation, "", "services", "t"));
        request.old = old;
        request.refusal(&Fake::ready(), "s", Some(new))
    };
    let refused = "403 services \"s\" is forbidden: Use of external IPs is denied by admission control";
    assert_eq!(deny(None, service(json!([]))), "admitted");
    assert_eq!(deny(None, service(json!(["1.2.3.4"]))), refused);
    assert_eq!(deny(Some(service(json!(["1.2.3.4"]))), service(json!(["1.2.3.4"]))), "admitted");
    assert_eq!(deny(Some(service(json!(["1.2.3.4"]))), service(json!(["1.2.3.4", "5.6.7.8"]))), refused);
    let map = json!({"metadata": {"name": "m"}});
    let update = |plugin: &str| {
        let mut update = with(plugin, request(Operation::Update, "", "configmaps", "nosuch"));
        update.settings.disable.push("NamespaceLifecycle".to_owned());
        update.refusal(&Fake::ready(), "m", Some(map.clone()))
    };
    assert_eq!(update("AlwaysAdmit"), "admitted");
    assert_eq!(update("NamespaceExists"), "404 namespaces \"nosuch\" not found");
    let view = Fake::ready();
    let create = with("NamespaceAutoProvision", request(Operation::Create, "", "configmaps", "new"));
    assert_eq!(create.refusal(&view, "m", Some(map)), "404 namespaces \"new\" not found", "this view does not show it");
    assert_eq!(*view.made.lock().expect("whole"), ["new"]);
}

#[test]
fn an_account_may_limit_what_secrets_its_pods_name() {
    let account = json!({"metadata": {"name": "a", "namespace": "t",
        "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "own"}], "imagePullSecrets": [{"name": "pull"}]});
    let view = Fake::ready().with("serviceaccounts", account);
    let of = |mut spec: Value| {
        spec["serviceAccountName"] = "a".into();
        refused_pod(&view, spec)
    };
    let with_env = |list: &str, field: &str, source: Value| {
        let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
        spec[list] = json!([{"name": "d", "image": "i", field: [source]}]);
        spec
    };
    let volume = |source: Value| json!({"volumes": [source]});
    let key = |name: &str| json!({"name": "E", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}});
    let told = [
        of(json!({})),
        of(volume(json!({"name": "v", "secret": {"secretName": "own"}}))),
        of(volume(json!({"name": "v", "secret": {"secretName": "other"}}))),
        of(volume(json!({"name": "v", "projected": {"sources": [{"secret": {"name": "other"}}]}}))),
        of(volume(json!({"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "other"}}}))),
        of(with_env("containers", "env", key("own"))),
        of(with_env("containers", "env", key("other"))),
        of(with_env("initContainers", "env", key("other"))),
        of(with_env("initContainers", "envFrom", json!({"secretRef": {"name": "other"}}))),
        of(json!({"imagePullSecrets": [{"name": "pull"}]})),
        of(json!({"imagePullSecrets": [{"name": "pull"}, {"name": "other"}]})),
        refused_pod(&view, volume(json!({"name": "v", "secret": {"secretName": "other"}}))),
    ];
    let debug = |name: &str| {
        let mut update = request(Operation::Update, "", "pods", "t");
        let before = pod(json!({"serviceAccountName": "a"}));
        (update.subresource, update.old) = ("ephemeralcontainers", Some(before));
        let container = json!([{"name": "e", "image": "i", "envFrom": [{"secretRef": {"name": name}}]}]);
        update.refusal(&view, "p", Some(pod(json!({"serviceAccountName": "a", "ephemeralContainers": container}))))
    };
    expect![[r#"
        admitted
        admitted
        403 pods "p" is forbidden: volume with secret.secretName="other" is not allowed because service account a does not reference that secret
        403 pods "p" is forbidden: volume with secret.secretName="other" is not allowed because service account a does not reference that secret
        403 pods "p" is forbidden: volume with secret.secretName="other" is not allowed because service account a does not reference that secret
        admitted
        403 pods "p" is forbidden: container d with envVar E referencing secret.secretName="other" is not allowed because service account a does not reference that secret
        403 pods "p" is forbidden: init container d with envVar E referencing secret.secretName="other" is not allowed because service account a does not reference that secret
        403 pods "p" is forbidden: init container d with envFrom referencing secret.secretName="other" is not allowed because service account a does not reference that secret
        admitted
        403 pods "p" is forbidden: imagePullSecrets[1].name="other" is not allowed because service account a does not reference that imagePullSecret
        admitted
        admitted
        403 pods "p" is forbidden: ephemeral container e with envFrom referencing secret.secretName="other" is not allowed because service account a does not reference that secret
    "#]].assert_eq(&(told.into_iter().chain([debug("own"), debug("other")]).collect::<Vec<_>>().join("\n") + "\n"));
}
