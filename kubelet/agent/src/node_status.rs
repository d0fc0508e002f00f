//! The Node object: registered once, its status told on change and every five minutes, its lease every ten seconds.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kubelet_core::admit::Pressure;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::Node;
use crate::api::ApiFailure;
use crate::clock;
use crate::machine;

/// How often the state of the node is looked at.
const UPDATE_EVERY: Duration = Duration::from_secs(10);
/// How often hollow nodes see whether the API server agrees with them.
const HOLLOW_COMPARE_EVERY: Duration = Duration::from_secs(40);
/// How often an unchanged status is told again.
const REPORT_EVERY: Duration = Duration::from_secs(300);
const LEASE_SECONDS: i32 = 40;
const LEASE_EVERY: Duration = Duration::from_secs(10);
/// Wait after a failed heartbeat.
const LEASE_RETRY: Duration = Duration::from_millis(500);
/// How long the last words may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);
/// Images listed in the status at most.
const MAX_IMAGES: usize = 50;

/// Registers the node, trying until a server takes it.
pub(crate) async fn register(node: &Node) -> Result<(), ApiFailure> {
    let conditions = conditions(&[], &observe(node).await, clock::now());
    let object = api::Node {
        metadata: ObjectMeta {
            name: Some(node.config.node_name.clone()),
            labels: Some(labels(node)),
            annotations: Some(
                [("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())].into(),
            ),
            ..Default::default()
        },
        spec: Some(api::NodeSpec {
            pod_cidr: node.config.pod_cidr.clone(),
            pod_cidrs: node.config.pod_cidr.clone().map(|cidr| vec![cidr]),
            ..Default::default()
        }),
        status: Some(api::NodeStatus { conditions: Some(conditions), ..status(node) }),
    };
    loop {
        match node.client.post::<api::Node>("/api/v1/nodes", &object).await {
            Ok(made) => {
                *node.object.lock() = Arc::new(made);
                return Ok(());
            }
            // It was here before: what may have changed is brought up to date.
            Err(error) if error.is_conflict() => return refresh_metadata(node).await,
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "registering the node");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn refresh_metadata(node: &Node) -> Result<(), ApiFailure> {
    let patch = json!({"metadata": {"labels": labels(node)}});
    *node.object.lock() = Arc::new(node.client.patch::<api::Node>(&path(node), &patch).await?);
    Ok(())
}

/// The Node object as it is now, remembered for whoever asks later.
pub(crate) async fn read(node: &Node) -> Result<Arc<api::Node>, ApiFailure> {
    let object: Arc<api::Node> = Arc::new(node.client.get(&path(node)).await?);
    *node.object.lock() = object.clone();
    Ok(object)
}

pub(crate) fn path(node: &Node) -> String {
    format!("/api/v1/nodes/{}", node.config.node_name)
}

pub(crate) fn labels(node: &Node) -> std::collections::BTreeMap<String, String> {
    let arch = crate::images::architecture();
    let name = node.config.node_name.as_str();
    let fixed = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
    ];
    let fixed = fixed.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
    fixed.chain(node.config.labels.iter().cloned()).collect()
}

/// All of the status but its conditions.
fn status(node: &Node) -> api::NodeStatus {
    let address = |kind: &str, address: String| api::NodeAddress { type_: kind.to_owned(), address };
    api::NodeStatus {
        addresses: Some(vec![
            address("InternalIP", node.config.node_ip.to_string()),
            address("Hostname", node.config.node_name.clone()),
        ]),
        capacity: Some(node.machine.capacity()),
        allocatable: Some(node.machine.allocatable()),
        daemon_endpoints: Some(api::NodeDaemonEndpoints {
            kubelet_endpoint: Some(api::DaemonEndpoint { port: i32::from(node.config.port) }),
        }),
        node_info: Some(node.machine.info.clone()),
        features: node.strict_groups.then_some(api::NodeFeatures { supplemental_groups_policy: Some(true) }),
        ..Default::default()
    }
}

/// What decides over the conditions.
struct Health {
    pressure: Pressure,
    /// Why the node is not ready.
    not_ready: Option<String>,
}

async fn observe(node: &Node) -> Health {
    let pressure = if node.hollow { Pressure::default() } else { machine::pressure(&node.config.root_dir) };
    *node.pressure.lock() = pressure;
    let not_ready = match node.runtime.status().await {
        Ok(status) => {
            let bad = status.conditions.iter().find(|c| !c.status);
            bad.map(|c| match c.r#type.as_str() {
                "NetworkReady" => format!(
                    "container runtime network not ready: NetworkReady=false reason:{} message:{}",
                    c.reason, c.message
                ),
                other => {
                    format!("container runtime not ready: {other}=false reason:{} message:{}", c.reason, c.message)
                }
            })
        }
        Err(error) => Some(format!("container runtime status check may not have completed yet: {error}")),
    };
    Health { pressure, not_ready }
}

fn conditions(before: &[api::NodeCondition], health: &Health, now: Timestamp) -> Vec<api::NodeCondition> {
    let make = |kind: &str,
                bad: bool,
                (good_reason, good_message): (&str, &str),
                (bad_reason, bad_message): (&str, &str),
                good_is: &str| {
        let bad_is = if good_is == "True" { "False" } else { "True" };
        let (status, reason, message) =
            if bad { (bad_is, bad_reason, bad_message) } else { (good_is, good_reason, good_message) };
        let old = before.iter().find(|c| c.type_ == kind && c.status == status);
        let transition = old.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(now));
        api::NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(transition),
        }
    };
    let not_ready = health.not_ready.as_deref().unwrap_or("");
    let Pressure { memory, disk, pid } = health.pressure;
    vec![
        make(
            "MemoryPressure",
            memory,
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            "False",
        ),
        make(
            "DiskPressure",
            disk,
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            "False",
        ),
        make(
            "PIDPressure",
            pid,
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            "False",
        ),
        make(
            "Ready",
            health.not_ready.is_some(),
            ("KubeletReady", "kubelet is posting ready status"),
            ("KubeletNotReady", not_ready),
            "True",
        ),
    ]
}

/// What was last told of the node.
struct Told {
    digest: Value,
    at: Instant,
    /// When the API server's view was last compared with ours; `None`: it is due.
    compared: Option<Instant>,
}

/// Keeps the node's status up to date until stopped.
pub(crate) async fn keep_status(node: Arc<Node>, stop: CancellationToken) {
    let mut told: Option<Told> = None;
    loop {
        let wait = match update(&node, &mut told).await {
            Ok(()) => UPDATE_EVERY,
            Err(error) if error.is_not_found() => {
                // Someone removed the Node object: it comes back.
                tracing::warn!("the Node object is gone: registering again");
                if let Err(error) = register(&node).await {
                    tracing::warn!(%error, "registering the node again");
                }
                Duration::from_secs(1)
            }
            Err(error) => {
                tracing::debug!(%error, "telling the node's status");
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = node.status_wake.notified() => {
                if let Some(told) = &mut told {
                    told.compared = None;
                }
            }
            () = stop.cancelled() => return,
        }
    }
}

async fn update(node: &Node, told: &mut Option<Told>) -> Result<(), ApiFailure> {
    let health = observe(node).await;
    let images = images(node).await;
    // Compared without heartbeats: they always change.
    let digest = json!({
        "pressure": format!("{:?}", health.pressure), "notReady": health.not_ready, "images": images,
    });
    let compare_every = if node.hollow { HOLLOW_COMPARE_EVERY } else { UPDATE_EVERY };
    let unchanged = told.as_ref().is_some_and(|t| t.digest == digest && t.at.elapsed() < REPORT_EVERY);
    if unchanged && told.as_ref().and_then(|t| t.compared).is_some_and(|at| at.elapsed() < compare_every) {
        return Ok(());
    }
    let present = read(node).await?;
    let before = present.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let conditions = conditions(&before, &health, clock::now());
    // The node lifecycle controller may have called us unreachable meanwhile.
    let agreed =
        |wanted: &api::NodeCondition| before.iter().any(|c| c.type_ == wanted.type_ && c.status == wanted.status);
    if unchanged && conditions.iter().all(agreed) {
        if let Some(told) = told {
            told.compared = Some(Instant::now());
        }
        return Ok(());
    }
    announce(node, &before, &conditions);
    let status = api::NodeStatus { conditions: Some(conditions), images: Some(images), ..status(node) };
    let mut status = serde_json::to_value(status).map_err(|e| ApiFailure::Decode(e.to_string()))?;
    if let Some(addresses) = status.get_mut("addresses").and_then(Value::as_array_mut) {
        addresses.insert(0, json!({"$patch": "replace"}));
    }
    node.client.patch::<Value>(&format!("{}/status", path(node)), &json!({"status": status})).await?;
    *told = Some(Told { digest, at: Instant::now(), compared: Some(Instant::now()) });
    Ok(())
}

/// Says that the node is not ready any more, because its agent ends and its pods with it.
pub(crate) async fn say_goodbye(node: &Node) {
    match tokio::time::timeout(GOODBYE_TIMEOUT, become_unready(node)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot say that the node stops"),
        Err(_) => tracing::warn!("cannot say that the node stops: no API server answers in time"),
    }
}

async fn become_unready(node: &Node) -> Result<(), ApiFailure> {
    let why = "the agent of this node is stopping, and its pods with it".to_owned();
    let health = Health { pressure: *node.pressure.lock(), not_ready: Some(why) };
    let present = read(node).await?;
    let before = present.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let conditions = conditions(&before, &health, clock::now());
    announce(node, &before, &conditions);
    node.client
        .patch::<Value>(&format!("{}/status", path(node)), &json!({"status": {"conditions": conditions}}))
        .await?;
    Ok(())
}

/// An event for each condition that turned.
fn announce(node: &Node, before: &[api::NodeCondition], after: &[api::NodeCondition]) {
    for condition in after {
        let old = before.iter().find(|c| c.type_ == condition.type_);
        if old.is_some_and(|old| old.status == condition.status) {
            continue;
        }
        let reason = match (condition.type_.as_str(), condition.status.as_str()) {
            ("Ready", "True") => "NodeReady",
            ("Ready", _) => "NodeNotReady",
            ("MemoryPressure", "True") => "NodeHasInsufficientMemory",
            ("MemoryPressure", _) => "NodeHasSufficientMemory",
            ("DiskPressure", "True") => "NodeHasDiskPressure",
            ("DiskPressure", _) => "NodeHasNoDiskPressure",
            ("PIDPressure", "True") => "NodeHasInsufficientPID",
            _ => "NodeHasSufficientPID",
        };
        node.events.node(true, reason, format!("Node {} status is now: {reason}", node.config.node_name));
    }
}

async fn images(node: &Node) -> Vec<api::ContainerImage> {
    if node.hollow {
        return Vec::new();
    }
    let mut images = node.runtime.list_images().await.unwrap_or_default();
    images.sort_by(|a, b| (b.size, &a.id).cmp(&(a.size, &b.id)));
    let entry = |image: kubelet_cri::cri::Image| api::ContainerImage {
        names: Some(image.repo_digests.into_iter().chain(image.repo_tags).take(5).collect()),
        size_bytes: i64::try_from(image.size).ok(),
    };
    images.into_iter().take(MAX_IMAGES).map(entry).collect()
}

/// Renews the node's lease until stopped.
pub(crate) async fn keep_lease(node: Arc<Node>, stop: CancellationToken) {
    let mut lease: Option<Lease> = None;
    let mut failed = false;
    loop {
        let wait = match renew(&node, &mut lease).await {
            Ok(()) => {
                if std::mem::take(&mut failed) {
                    // We may have been called dead: the node's status says otherwise at once.
                    node.status_wake.notify_one();
                }
                LEASE_EVERY
            }
            Err(error) => {
                tracing::debug!(%error, "renewing the node's lease");
                lease = None;
                failed = true;
                LEASE_RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn renew(node: &Node, lease: &mut Option<Lease>) -> Result<(), ApiFailure> {
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let name = node.config.node_name.as_str();
    let path = format!("{LEASES}/{name}");
    if lease.is_none() {
        *lease = match node.client.get::<Lease>(&path).await {
            Ok(found) => Some(found),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
    }
    let spec = |old: Option<LeaseSpec>| LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        renew_time: Some(MicroTime(clock::now())),
        ..old.unwrap_or_default()
    };
    let renewed = match lease.take() {
        Some(mut present) => {
            present.spec = Some(spec(present.spec.take()));
            node.client.put::<Lease>(&path, &present).await?
        }
        None => {
            let owner = read(node).await?;
            let owner = OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: name.to_owned(),
                uid: owner.metadata.uid.clone().unwrap_or_default(),
                ..Default::default()
            };
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some("kube-node-lease".into()),
                owner_references: Some(vec![owner]),
                ..Default::default()
            };
            node.client.post::<Lease>(LEASES, &Lease { metadata, spec: Some(spec(None)) }).await?
        }
    };
    *lease = Some(renewed);
    Ok(())
}
