//! The chain over a view that is a map.

mod others;
mod pod_security;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use api_machinery::{ApiError, GroupResource, GroupVersion, UserInfo, Value, object};
use api_schema::{FeatureGates, Resource};
use async_trait::async_trait;
use expect_test::expect;
use jiff::Timestamp;
use serde_json::json;

use crate::{Act, Attributes, Chain, Notes, Operation, Place, Rights, Settings, View};

/// Objects by resource, namespace and name; some appear only after a refresh.
#[derive(Default)]
struct Fake {
    objects: BTreeMap<(String, String, String), Arc<Value>>,
    late: BTreeMap<(String, String, String), Arc<Value>>,
    refreshed: AtomicUsize,
    /// Namespaces.
    made: Mutex<Vec<String>>,
}

impl Fake {
    fn with(mut self, resource: &str, value: Value) -> Self {
        self.objects.insert(Self::key(resource, &value), value.into());
        self
    }
    fn with_late(mut self, resource: &str, value: Value) -> Self {
        self.late.insert(Self::key(resource, &value), value.into());
        self
    }
    fn key(resource: &str, value: &Value) -> (String, String, String) {
        (resource.to_owned(), object::namespace(value).to_owned(), object::name(value).to_owned())
    }
    /// A namespace `t` with its default account.
    fn ready() -> Self {
        Self::default()
            .with("namespaces", json!({"metadata": {"name": "t"}, "status": {"phase": "Active"}}))
            .with("serviceaccounts", json!({"metadata": {"name": "default", "namespace": "t"}}))
    }
}

#[async_trait]
impl View for Fake {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (resource.to_string(), namespace.to_owned(), name.to_owned());
        let late = self.late.get(&key).filter(|_| self.refreshed.load(Ordering::Relaxed) > 0);
        self.objects.get(&key).or(late).cloned()
    }
    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let resource = resource.to_string();
        let of = |(key, value): (&(String, String, String), &Arc<Value>)| {
            (key.0 == resource && namespace.is_none_or(|namespace| namespace == key.1)).then(|| value.clone())
        };
        self.objects.iter().filter_map(of).collect()
    }
    async fn refresh(&self) -> Result<(), ApiError> {
        self.refreshed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn place_of(&self, api_version: &str, kind: &str) -> Option<Place> {
        let resource = GroupResource::new("apps", "replicasets");
        (api_version == "apps/v1" && kind == "ReplicaSet").then(|| Place {
            resource,
            version: "v1".to_owned(),
            namespaced: true,
        })
    }
    async fn make_namespace(&self, name: &str) -> Result<(), ApiError> {
        self.made.lock().expect("whole").push(name.to_owned());
        Ok(())
    }
}

/// Nothing here waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a plugin waits for something"),
    }
}

fn resource(group: &str, plural: &str, namespaced: bool) -> Resource {
    Resource {
        gv: GroupVersion::new(group, "v1"),
        plural: plural.to_owned(),
        singular: String::new(),
        kind: String::new(),
        namespaced,
        verbs: Vec::new(),
        short_names: Vec::new(),
        categories: Vec::new(),
        subresources: Vec::new(),
        type_id: None,
        storage_version_hash: String::new(),
        storage: GroupResource::new(group, plural),
        storage_gv: GroupVersion::new(group, "v1"),
        hub_gv: GroupVersion::new(group, "v1"),
        hub_type_id: None,
        gate: None,
        deprecation: None,
    }
}

struct Request<'a> {
    operation: Operation,
    group: &'a str,
    plural: &'a str,
    subresource: &'a str,
    namespace: &'a str,
    user: UserInfo,
    old: Option<Value>,
    may: Option<May>,
    notes: Notes,
    settings: Settings,
}

/// Acts as `verb group/resource[/subresource] namespace/name` that the asker may do.
struct May(Vec<&'static str>);

#[async_trait]
impl Rights for May {
    async fn may(&self, act: &Act<'_>) -> bool {
        let subresource = if act.subresource.is_empty() { String::new() } else { format!("/{}", act.subresource) };
        let text = format!("{} {}/{}{subresource} {}/{}", act.verb, act.group, act.resource, act.namespace, act.name);
        self.0.contains(&text.as_str())
    }
}

fn request<'a>(operation: Operation, group: &'a str, plural: &'a str, namespace: &'a str) -> Request<'a> {
    let user = UserInfo { name: "u".to_owned(), ..UserInfo::default() };
    let notes = Notes::default();
    Request {
        operation,
        group,
        plural,
        subresource: "",
        namespace,
        user,
        old: None,
        may: None,
        notes,
        settings: Settings::default(),
    }
}

impl Request<'_> {
    /// Runs the whole chain, both halves.
    fn run(&self, view: &Fake, name: &str, object: Option<Value>) -> Result<Value, ApiError> {
        let resource = resource(self.group, self.plural, !self.namespace.is_empty());
        let attributes = Attributes {
            operation: self.operation,
            resource: &resource,
            subresource: self.subresource,
            namespace: self.namespace,
            name,
            user: &self.user,
            old: self.old.as_ref(),
            dry_run: false,
            now: Timestamp::UNIX_EPOCH,
            rights: self.may.as_ref().map(|may| may as &dyn Rights),
            notes: &self.notes,
        };
        let chain = Chain::new(&self.settings, &FeatureGates::default()).expect("plugins");
        let mut object = object;
        now(chain.admit(&attributes, object.as_mut(), view))?;
        now(chain.validate(&attributes, object.as_ref(), view))?;
        Ok(object.unwrap_or(Value::Null))
    }
    fn refusal(&self, view: &Fake, name: &str, object: Option<Value>) -> String {
        match self.run(view, name, object) {
            Ok(_) => "admitted".to_owned(),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }
}

fn pod(spec: Value) -> Value {
    let mut pod =
        json!({"metadata": {"name": "p", "namespace": "t"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (field, value) in spec.as_object().expect("fields of a spec") {
        pod["spec"][field] = value.clone();
    }
    pod
}

fn create_pod(view: &Fake, spec: Value) -> Result<Value, ApiError> {
    request(Operation::Create, "", "pods", "t").run(view, "p", Some(pod(spec)))
}

fn refused_pod(view: &Fake, spec: Value) -> String {
    request(Operation::Create, "", "pods", "t").refusal(view, "p", Some(pod(spec)))
}

#[test]
fn order() {
    let names = |settings: &Settings| -> String {
        let chain = Chain::new(settings, &FeatureGates::default()).expect("plugins");
        chain.plugins().map(|plugin| format!("{}\n", plugin.name())).collect()
    };
    expect![[r#"
        NamespaceLifecycle
        LimitRanger
        ServiceAccount
        NodeRestriction
        TaintNodesByCondition
        PodSecurity
        Priority
        DefaultTolerationSeconds
        DefaultStorageClass
        StorageObjectInUseProtection
        PodGroupProtection
        PersistentVolumeClaimResize
        RuntimeClass
        CertificateApproval
        CertificateSigning
        ClusterTrustBundleAttest
        CertificateSubjectRestriction
        DefaultIngressClass
        PodTopologyLabels
        PodGroupWorkloadExists
        NodeDeclaredFeatureValidator
        JobValidation
        PodResizeValidator
        ResourceQuota
    "#]]
    .assert_eq(&names(&Settings::default()));
    let limits = json!({"limits": [{"type": "Server", "qps": 1, "burst": 1}]});
    let all = Settings {
        enable: crate::order::ALL.iter().map(|entry| entry.name.to_owned()).collect(),
        configuration: [("EventRateLimit".to_owned(), limits)].into(),
        ..Settings::default()
    };
    let listed: String = crate::order::ALL.iter().map(|entry| format!("{}\n", entry.name)).collect();
    assert_eq!(names(&all), listed, "each says its own name");
    expect![[r#"
        AlwaysAdmit
        NamespaceAutoProvision
        NamespaceLifecycle
        NamespaceExists
        LimitPodHardAntiAffinityTopology
        LimitRanger
        ServiceAccount
        NodeRestriction
        TaintNodesByCondition
        AlwaysPullImages
        PodSecurity
        PodNodeSelector
        Priority
        DefaultTolerationSeconds
        PodTolerationRestriction
        EventRateLimit
        ExtendedResourceToleration
        DefaultStorageClass
        StorageObjectInUseProtection
        PodGroupProtection
        OwnerReferencesPermissionEnforcement
        PersistentVolumeClaimResize
        RuntimeClass
        CertificateApproval
        CertificateSigning
        ClusterTrustBundleAttest
        CertificateSubjectRestriction
        DefaultIngressClass
        DenyServiceExternalIPs
        PodTopologyLabels
        PodGroupWorkloadExists
        NodeDeclaredFeatureValidator
        JobValidation
        PodResizeValidator
        ResourceQuota
        AlwaysDeny
    "#]]
    .assert_eq(&listed);
}

#[test]
fn what_is_wanted() {
    let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let refused = |enable: &[&str], disable: &[&str]| {
        let settings = Settings { enable: text(enable), disable: text(disable), ..Settings::default() };
        Chain::new(&settings, &FeatureGates::default()).err()
    };
    assert_eq!(refused(&["Nosuch"], &[]).as_deref(), Some("enable-admission-plugins plugin \"Nosuch\" is unknown"));
    assert_eq!(refused(&[], &["Nosuch"]).as_deref(), Some("disable-admission-plugins plugin \"Nosuch\" is unknown"));
    assert_eq!(
        refused(&["AlwaysDeny", "PodSecurity"], &["PodSecurity", "AlwaysDeny"]).as_deref(),
        Some("[AlwaysDeny PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped")
    );
    assert_eq!(
        refused(&["EventRateLimit"], &[]).as_deref(),
        Some("couldn't init admission plugin \"EventRateLimit\": limits: Invalid value: null: must not be empty")
    );
    let settings = Settings { disable: text(&["NamespaceLifecycle"]), ..Settings::default() };
    let chain = Chain::new(&settings, &FeatureGates::default()).expect("plugins");
    assert!(!chain.guards_namespaces());
    assert_eq!(chain.plugins().count() + 1, Chain::standard().plugins().count());
    let gates = FeatureGates::parse("PodTopologyLabelsAdmission=false").expect("gates");
    let chain = Chain::new(&Settings::default(), &gates).expect("plugins");
    assert!(chain.plugins().all(|plugin| plugin.name() != "PodTopologyLabels"));
    assert_eq!(chain.plugins().count() + 1, Chain::standard().plugins().count());
}

#[test]
fn a_pod_gets_what_every_pod_has() {
    let admitted = create_pod(&Fake::ready(), json!({})).expect("admitted");
    let again = create_pod(&Fake::ready(), json!({})).expect("admitted");
    assert_eq!(admitted, again, "admission of the same pod differs");
    let text = serde_json::to_string_pretty(&admitted["spec"]).expect("JSON");
    assert!(text.contains("\"expirationSeconds\": 3607"), "{text}");
    assert!(text.contains("\"name\": \"kube-root-ca.crt\""), "{text}");
    assert!(text.contains("\"mountPath\": \"/var/run/secrets/kubernetes.io/serviceaccount\""), "{text}");
    assert_eq!(admitted["spec"]["serviceAccountName"], "default");
    assert_eq!(admitted["spec"]["priority"], 0);
    assert_eq!(admitted["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(admitted["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    let volume = admitted["spec"]["volumes"][0]["name"].as_str().expect("a volume");
    assert_eq!(volume.len(), "kube-api-access-".len() + 5);
    assert_eq!(admitted["spec"]["containers"][0]["volumeMounts"][0]["name"], volume);
}

#[test]
fn tokens_are_mounted_only_where_wanted() {
    let mounts = |view: &Fake, spec: Value| {
        create_pod(view, spec).expect("admitted")["spec"]["volumes"].as_array().map_or(0, Vec::len)
    };
    let unwilling = Fake::ready().with(
        "serviceaccounts",
        json!({"metadata": {"name": "quiet", "namespace": "t"}, "automountServiceAccountToken": false,
               "imagePullSecrets": [{"name": "s"}]}),
    );
    assert_eq!(mounts(&Fake::ready(), json!({"automountServiceAccountToken": false})), 0);
    assert_eq!(mounts(&unwilling, json!({"serviceAccountName": "quiet"})), 0);
    assert_eq!(mounts(&unwilling, json!({"serviceAccountName": "quiet", "automountServiceAccountToken": true})), 1);
    let admitted = create_pod(&unwilling, json!({"serviceAccountName": "quiet"})).expect("admitted");
    assert_eq!(admitted["spec"]["imagePullSecrets"][0]["name"], "s");
    let own = json!([{"name": "c", "volumeMounts": [
        {"name": "v", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}]);
    assert_eq!(mounts(&Fake::ready(), json!({"containers": own})), 0);
}

#[test]
fn namespaces() {
    let going =
        Fake::ready().with("namespaces", json!({"metadata": {"name": "g"}, "status": {"phase": "Terminating"}}));
    let map = json!({"metadata": {"name": "m"}});
    let create = |namespace| request(Operation::Create, "", "configmaps", namespace);
    assert_eq!(create("t").refusal(&going, "m", Some(map.clone())), "admitted");
    assert_eq!(create("x").refusal(&going, "m", Some(map.clone())), "404 namespaces \"x\" not found");
    let error = create("g").run(&going, "m", Some(map.clone())).expect_err("refused");
    assert_eq!(
        error.message,
        "configmaps \"m\" is forbidden: unable to create new content in namespace g because it is being terminated"
    );
    let status = error.to_status();
    assert_eq!(status["details"]["causes"][0]["reason"], "NamespaceTerminating");
    assert_eq!(status["details"]["causes"][0]["field"], "metadata.namespace");
    // Updates and deletes go on.
    assert_eq!(request(Operation::Update, "", "configmaps", "g").refusal(&going, "m", Some(map.clone())), "admitted");
    assert_eq!(request(Operation::Delete, "", "configmaps", "x").refusal(&going, "m", None), "admitted");
    // What another replica acknowledged is waited for.
    let late = Fake::ready().with_late("namespaces", json!({"metadata": {"name": "n"}, "status": {"phase": "Active"}}));
    assert_eq!(create("n").refusal(&late, "m", Some(map)), "admitted");
    assert_eq!(late.refreshed.load(Ordering::Relaxed), 1);
    let delete = request(Operation::Delete, "", "namespaces", "");
    assert_eq!(
        delete.refusal(&going, "kube-system", None),
        "403 namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
    );
    assert_eq!(delete.refusal(&going, "t", None), "admitted");
}

#[test]
fn refusals_of_pods() {
    let view = Fake::ready()
        .with(
            "priorityclasses.scheduling.k8s.io",
            json!({"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"}),
        )
        .with(
            "runtimeclasses.node.k8s.io",
            json!({"metadata": {"name": "r"}, "overhead": {"podFixed": {"cpu": "100m"}},
                   "scheduling": {"nodeSelector": {"a": "b"}}}),
        )
        .with("runtimeclasses.node.k8s.io", json!({"metadata": {"name": "free"}, "overhead": {}}));
    let cases = [
        json!({"serviceAccountName": "nosuch"}),
        json!({"priorityClassName": "nosuch"}),
        json!({"priority": 5}),
        json!({"priorityClassName": "high", "priority": 7}),
        json!({"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"}),
        json!({"runtimeClassName": "nosuch"}),
        json!({"overhead": {"cpu": "1"}}),
        json!({"overhead": {}}),
        json!({"runtimeClassName": "r", "overhead": {"cpu": "0.1"}}),
        json!({"runtimeClassName": "r", "overhead": {}}),
        json!({"runtimeClassName": "free", "overhead": {}}),
        json!({"runtimeClassName": "free", "overhead": {"cpu": "1"}}),
        json!({"runtimeClassName": "r", "nodeSelector": {"a": "c"}}),
    ];
    let told: Vec<String> = cases.iter().map(|spec| refused_pod(&view, spec.clone())).collect();
    expect![[r#"
        403 pods "p" is forbidden: error looking up service account t/nosuch: serviceaccount "nosuch" not found
        403 pods "p" is forbidden: no PriorityClass with name nosuch was found
        403 pods "p" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name
        admitted
        403 pods "p" is forbidden: the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name
        403 pods "p" is forbidden: pod rejected: RuntimeClass "nosuch" not found
        403 pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead
        403 pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead
        admitted
        admitted
        admitted
        403 pods "p" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead
        403 pods "p" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c
    "#]]
    .assert_eq(&(told.join("\n") + "\n"));
    let admitted = create_pod(&view, json!({"priorityClassName": "high", "runtimeClassName": "r"})).expect("admitted");
    assert_eq!(admitted["spec"]["priority"], 7);
    assert_eq!(admitted["spec"]["overhead"]["cpu"], "100m");
    assert_eq!(admitted["spec"]["nodeSelector"]["a"], "b");
}

#[test]
fn priorities_of_updates_and_defaults() {
    let view = Fake::ready().with(
        "priorityclasses.scheduling.k8s.io",
        json!({"metadata": {"name": "d"}, "value": 3, "globalDefault": true}),
    );
    let admitted = create_pod(&view, json!({})).expect("admitted");
    assert_eq!((&admitted["spec"]["priority"], &admitted["spec"]["priorityClassName"]), (&json!(3), &json!("d")));
    let mut update = request(Operation::Update, "", "pods", "t");
    update.old = Some(pod(json!({"priority": 9})));
    assert_eq!(update.run(&view, "p", Some(pod(json!({})))).expect("admitted")["spec"]["priority"], 9);
    let class = json!({"metadata": {"name": "e"}, "globalDefault": true});
    assert_eq!(
        request(Operation::Create, "scheduling.k8s.io", "priorityclasses", "").refusal(&view, "e", Some(class)),
        "403 priorityclasses.scheduling.k8s.io \"e\" is forbidden: PriorityClass d is already marked as default. \
         Only one default can exist"
    );
}

#[test]
fn limit_ranges() {
    let range = json!({"metadata": {"name": "l", "namespace": "t"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}, "max": {"cpu": "2"}, "min": {"cpu": "100m"}},
        {"type": "Pod", "max": {"cpu": "3"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}});
    let view = Fake::ready().with("limitranges", range);
    let admitted = create_pod(&view, json!({})).expect("admitted");
    assert_eq!(
        admitted["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}})
    );
    assert_eq!(
        object::annotation(&admitted, "kubernetes.io/limit-ranger"),
        Some("LimitRanger plugin set: cpu request for container c; cpu limit for container c")
    );
    let container = |cpu: &str| json!({"name": "c", "resources": {"limits": {"cpu": cpu}, "requests": {"cpu": cpu}}});
    assert_eq!(
        refused_pod(&view, json!({"containers": [container("2500m")]})),
        "403 pods \"p\" is forbidden: maximum cpu usage per Container is 2, but limit is 2500m"
    );
    assert_eq!(
        refused_pod(&view, json!({"containers": [container("2"), container("2")]})),
        "403 pods \"p\" is forbidden: maximum cpu usage per Pod is 3, but limit is 4"
    );
    let claim = json!({"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    assert_eq!(
        request(Operation::Create, "", "persistentvolumeclaims", "t").refusal(&view, "c", Some(claim)),
        "403 persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
    );
}

#[test]
fn defaults_of_other_kinds() {
    let view = Fake::ready()
        .with(
            "storageclasses.storage.k8s.io",
            json!({"metadata": {"name": "old", "creationTimestamp": "2025-01-01T00:00:00Z",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}),
        )
        .with(
            "storageclasses.storage.k8s.io",
            json!({"metadata": {"name": "new", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}),
        )
        .with(
            "ingressclasses.networking.k8s.io",
            json!({"metadata": {"name": "i",
            "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}}),
        );
    let create = |group, plural, namespace, object: Value| {
        request(Operation::Create, group, plural, namespace).run(&view, "x", Some(object)).expect("admitted")
    };
    let claim = create("", "persistentvolumeclaims", "t", json!({"metadata": {"name": "x"}, "spec": {}}));
    assert_eq!(claim["spec"]["storageClassName"], "new");
    assert_eq!(claim["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let none =
        create("", "persistentvolumeclaims", "t", json!({"metadata": {"name": "x"}, "spec": {"storageClassName": ""}}));
    assert_eq!(none["spec"]["storageClassName"], "");
    let ingress = create("networking.k8s.io", "ingresses", "t", json!({"metadata": {"name": "x"}, "spec": {}}));
    assert_eq!(ingress["spec"]["ingressClassName"], "i");
    let node = create("", "nodes", "", json!({"metadata": {"name": "x"}}));
    assert_eq!(node["spec"]["taints"], json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]));
}

#[test]
fn nodes_touch_their_own_things() {
    let view = Fake::ready()
        .with("nodes", json!({"metadata": {"name": "n", "uid": "9"}}))
        .with("namespaces", json!({"metadata": {"name": "kube-node-lease"}, "status": {"phase": "Active"}}))
        .with(
            "pods",
            json!({"metadata": {"name": "mine", "namespace": "t", "uid": "1"}, "spec": {"nodeName": "n",
            "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}}),
        )
        .with("pods", json!({"metadata": {"name": "other", "namespace": "t", "uid": "2"}, "spec": {"nodeName": "m"}}));
    let user =
        UserInfo { name: "system:node:n".to_owned(), groups: vec!["system:nodes".to_owned()], ..UserInfo::default() };
    let ask = |operation, group, plural, subresource, namespace, name, object: Option<Value>, old: Option<Value>| {
        let mut request = request(operation, group, plural, namespace);
        (request.user, request.subresource, request.old) = (user.clone(), subresource, old);
        request.may = Some(May(Vec::new()));
        request.refusal(&view, name, object)
    };
    let meta = |name: &str| json!({"metadata": {"name": name}});
    let token = |pod: &str, uid: &str| json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}}});
    let labelled = |key: &str| json!({"metadata": {"name": "n", "labels": {key: "x"}}});
    let for_audience = |pod: &str, audience: &str| {
        let mut request = token(pod, "1");
        request["spec"]["audiences"] = json!([audience]);
        request
    };
    let owned = |name: &str| json!({"metadata": {"name": name, "ownerReferences": [{"uid": "1"}]}});
    let grown = |size: &str| json!({"metadata": {"name": "c"}, "status": {"capacity": {"storage": size}}});
    let mirror = |fields: Value| {
        let mut pod = pod(fields);
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        pod["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "9", "controller": true}]);
        pod["spec"]["nodeName"] = "n".into();
        pod
    };
    use Operation::{Create, Delete, Update};
    let told = [
        ask(Create, "", "nodes", "", "", "n", Some(labelled("kubernetes.io/os")), None),
        ask(Create, "", "nodes", "", "", "m", Some(meta("m")), None),
        ask(Create, "", "nodes", "", "", "n", Some(labelled("node-restriction.kubernetes.io/a")), None),
        ask(Update, "", "nodes", "status", "", "m", Some(meta("m")), Some(meta("m"))),
        ask(
            Update,
            "",
            "nodes",
            "",
            "",
            "n",
            Some(json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a"}]}})),
            Some(meta("n")),
        ),
        ask(Create, "", "pods", "", "t", "p", Some(pod(json!({}))), None),
        ask(Delete, "", "pods", "", "t", "mine", None, None),
        ask(Delete, "", "pods", "", "t", "other", None, None),
        ask(Update, "", "pods", "status", "t", "other", Some(meta("other")), Some(json!({"spec": {"nodeName": "m"}}))),
        ask(Create, "coordination.k8s.io", "leases", "", "kube-node-lease", "n", Some(meta("n")), None),
        ask(Create, "coordination.k8s.io", "leases", "", "kube-node-lease", "m", Some(meta("m")), None),
        ask(Create, "coordination.k8s.io", "leases", "", "t", "n", Some(meta("n")), None),
        ask(Create, "", "serviceaccounts", "token", "t", "default", Some(token("mine", "1")), None),
        ask(Create, "", "serviceaccounts", "token", "t", "default", Some(token("other", "2")), None),
        ask(Create, "", "serviceaccounts", "token", "t", "default", Some(json!({"spec": {}})), None),
        ask(Create, "", "serviceaccounts", "token", "t", "default", Some(for_audience("mine", "vault")), None),
        ask(Create, "", "serviceaccounts", "token", "t", "default", Some(token("gone", "1")), None),
        ask(Update, "", "nodes", "", "", "n", Some(owned("n")), Some(meta("n"))),
        ask(Create, "", "pods", "", "t", "p", Some(mirror(json!({}))), None),
        ask(Create, "", "pods", "", "t", "p", Some(mirror(json!({"volumes": [{"name": "v", "secret": {}}]}))), None),
        ask(Create, "", "pods", "", "t", "p", Some(mirror(json!({"volumes": [{"name": "v", "hostPath": {}}]}))), None),
        ask(Update, "", "persistentvolumeclaims", "", "t", "c", Some(meta("c")), Some(meta("c"))),
        ask(Update, "", "persistentvolumeclaims", "status", "t", "c", Some(grown("1Gi")), Some(grown("2Gi"))),
        ask(Update, "", "persistentvolumeclaims", "status", "t", "c", Some(owned("c")), Some(meta("c"))),
        ask(Create, "resource.k8s.io", "resourceslices", "", "", "s", Some(json!({"spec": {"nodeName": "m"}})), None),
        ask(Create, "resource.k8s.io", "resourceslices", "", "", "s", Some(json!({"spec": {"nodeName": "n"}})), None),
    ];
    expect![[r#"
        admitted
        403 nodes "m" is forbidden: node "n" is not allowed to modify node "m"
        403 nodes "n" is forbidden: node "n" is not allowed to set the following labels: node-restriction.kubernetes.io/a
        403 nodes "m" is forbidden: node "n" is not allowed to modify node "m"
        403 nodes "n" is forbidden: node "n" is not allowed to modify taints
        403 pods "p" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n" can only create mirror pods
        admitted
        403 pods "other" is forbidden: node "n" can only delete pods with spec.nodeName set to itself
        403 pods "other" is forbidden: node "n" can only update pod status for pods with spec.nodeName set to itself
        admitted
        403 leases.coordination.k8s.io "m" is forbidden: can only access node lease with the same name as the requesting node
        403 leases.coordination.k8s.io "n" is forbidden: can only access leases in the "kube-node-lease" system namespace
        admitted
        403 serviceaccounts "default" is forbidden: node requested token bound to a pod scheduled on a different node
        403 serviceaccounts "default" is forbidden: node requested token not bound to a pod
        403 serviceaccounts "default" is forbidden: audience "vault" not found in pod spec volume, system:node:n is not authorized to request tokens for this audience
        404 pods "gone" not found
        403 nodes "n" is forbidden: node "n" is not allowed to modify ownerReferences
        admitted
        403 pods "p" is forbidden: a mirror pod may not reference secrets
        admitted
        403 persistentvolumeclaims "c" is forbidden: may only update PVC status
        admitted
        403 persistentvolumeclaims "c" is forbidden: node "n" is not allowed to update fields other than status.quantity and status.conditions
        403 resourceslices.resource.k8s.io "s" is forbidden: can only create ResourceSlice with the same NodeName as the requesting node
        admitted
    "#]]
    .assert_eq(&(told.join("\n") + "\n"));
}

#[test]
fn nodes_make_and_delete_their_own_slices() {
    let view = Fake::ready();
    let user =
        UserInfo { name: "system:node:n".to_owned(), groups: vec!["system:nodes".to_owned()], ..UserInfo::default() };
    let slice = |node: &str| json!({"metadata": {"name": "s"}, "spec": {"nodeName": node}});
    let ask = |operation, object: Option<Value>, old: Option<Value>| {
        let mut request = request(operation, "resource.k8s.io", "resourceslices", "");
        (request.user, request.old) = (user.clone(), old);
        request.refusal(&view, "s", object)
    };
    let refused = |verb: &str| {
        format!(
            "403 resourceslices.resource.k8s.io \"s\" is forbidden: can only {verb} ResourceSlice with the same NodeName as the requesting node"
        )
    };
    assert_eq!(ask(Operation::Create, Some(slice("n")), None), "admitted");
    assert_eq!(ask(Operation::Create, Some(slice("m")), None), refused("create"));
    assert_eq!(
        ask(Operation::Create, Some(json!({"metadata": {"name": "s"}, "spec": {"allNodes": true}})), None),
        refused("create")
    );
    assert_eq!(ask(Operation::Delete, None, Some(slice("n"))), "admitted");
    assert_eq!(ask(Operation::Delete, None, Some(slice("m"))), refused("delete"));
}
