//! Requests and limits: QoS classes, cgroup numbers and the downward API's view of them.

use std::collections::BTreeMap;

use api_machinery::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::pods;

/// Length of the CPU quota's period, in microseconds.
pub const CPU_PERIOD: i64 = 100_000;

/// Numbers for the cgroup of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub cpu_shares: i64,
    /// Microseconds of each [`CPU_PERIOD`]; 0: unlimited.
    pub cpu_quota: i64,
    /// Bytes; 0: unlimited.
    pub memory: i64,
    pub oom_score_adj: i64,
}

type Amounts = BTreeMap<String, Text>;

fn parse(text: &Text) -> Option<Quantity> {
    Quantity::parse(&text.0).ok()
}

fn get(amounts: Option<&Amounts>, resource: &str) -> Option<Quantity> {
    amounts.and_then(|a| a.get(resource)).and_then(parse)
}

fn requests(container: &Container) -> Option<&Amounts> {
    container.resources.as_ref().and_then(|r: &ResourceRequirements| r.requests.as_ref())
}

fn limits(container: &Container) -> Option<&Amounts> {
    container.resources.as_ref().and_then(|r| r.limits.as_ref())
}

/// What a container requests, in whole units.
pub fn request(container: &Container, resource: &str) -> i64 {
    get(requests(container), resource).map_or(0, |q| q.value())
}

/// What the containers that run side by side request together.
pub fn pod_request(pod: &Pod, resource: &str) -> i64 {
    let sidecars = pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c));
    sidecars.chain(pods::app_containers(pod)).map(|c| request(c, resource)).sum()
}

/// `Guaranteed`, `Burstable` or `BestEffort`, over cpu and memory of init and app containers.
pub fn qos_class(pod: &Pod) -> &'static str {
    let containers = || pods::app_containers(pod).iter().chain(pods::init_containers(pod));
    let positive = |amounts: Option<&Amounts>, resource| get(amounts, resource).filter(|q| q.nano > 0);
    let asks = |c: &Container| {
        ["cpu", "memory"].iter().any(|r| positive(requests(c), r).is_some() || positive(limits(c), r).is_some())
    };
    if !containers().any(asks) {
        return "BestEffort";
    }
    let guaranteed = |c: &Container| {
        ["cpu", "memory"].iter().all(|r| {
            let limit = positive(limits(c), r);
            limit.is_some()
                && positive(requests(c), r).is_none_or(|request| Some(request.nano) == limit.map(|l| l.nano))
        })
    };
    if containers().all(guaranteed) { "Guaranteed" } else { "Burstable" }
}

/// What the cgroup of a container gets. `node_memory`: capacity in bytes.
pub fn container_limits(pod: &Pod, container: &Container, node_memory: i64) -> Limits {
    let cpu_limit = get(limits(container), "cpu").map_or(0, |q| q.milli_value());
    let cpu_request = get(requests(container), "cpu").map_or(cpu_limit, |q| q.milli_value());
    Limits {
        cpu_shares: cpu_shares(cpu_request),
        cpu_quota: cpu_quota(cpu_limit),
        memory: get(limits(container), "memory").map_or(0, |q| q.value()),
        oom_score_adj: oom_score_adj(pod, container, node_memory),
    }
}

/// CPU shares of a cgroup v1 for thousandths of a CPU.
pub fn cpu_shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

fn cpu_quota(milli: i64) -> i64 {
    if milli == 0 { 0 } else { (milli.saturating_mul(CPU_PERIOD) / 1000).max(1000) }
}

fn oom_score_adj(pod: &Pod, container: &Container, node_memory: i64) -> i64 {
    match qos_class(pod) {
        _ if pods::is_critical(pod) => -997,
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let request = get(requests(container), "memory").map_or(0, |q| q.value());
            let part = i128::from(request) * 1000 / i128::from(node_memory.max(1));
            (1000 - i64::try_from(part).unwrap_or(1000)).clamp(3, 999)
        }
    }
}

/// Requests of the whole pod in milli-CPU and bytes, for its own cgroup: the sum of its containers.
pub fn pod_cpu_shares(pod: &Pod) -> i64 {
    let milli =
        |c: &Container| get(requests(c), "cpu").or_else(|| get(limits(c), "cpu")).map_or(0, |q| q.milli_value());
    let sidecars = pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c)).map(milli).sum::<i64>();
    let apps = pods::app_containers(pod).iter().map(milli).sum::<i64>() + sidecars;
    let init = pods::init_containers(pod).iter().map(milli).max().unwrap_or(0);
    cpu_shares(apps.max(init))
}

/// `resourceFieldRef`: the amount in units of `divisor`, rounded up. Limits not set are the node's (`allocatable`).
pub fn field_value(
    container: &Container,
    resource: &str,
    divisor: Option<&Text>,
    allocatable: &BTreeMap<String, Text>,
) -> Result<String, String> {
    let (side, name) =
        resource.split_once('.').ok_or_else(|| format!("unsupported container resource : {resource}"))?;
    let amount = match side {
        "limits" => get(limits(container), name).or_else(|| get(Some(allocatable), name)),
        "requests" => get(requests(container), name),
        _ => return Err(format!("unsupported container resource : {resource}")),
    };
    let divisor = divisor.and_then(parse).map_or(1_000_000_000, |q| q.nano);
    let divisor = if divisor == 0 { 1_000_000_000 } else { divisor };
    let nano = amount.map_or(0, |q| q.nano);
    Ok((nano.div_euclid(divisor) + i128::from(nano.rem_euclid(divisor) != 0)).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(resources: serde_json::Value) -> Pod {
        let spec = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        serde_json::from_value(spec).expect("a pod")
    }

    fn numbers(resources: serde_json::Value) -> (&'static str, Limits) {
        let pod = pod(resources);
        (qos_class(&pod), container_limits(&pod, &pods::app_containers(&pod)[0], 8 << 30))
    }

    #[test]
    fn classes_and_cgroups() {
        let (class, limits) = numbers(json!({}));
        assert_eq!((class, limits.cpu_shares, limits.cpu_quota, limits.oom_score_adj), ("BestEffort", 2, 0, 1000));
        let (class, limits) = numbers(json!({"limits": {"cpu": "500m", "memory": "1Gi"}}));
        let expected = Limits { cpu_shares: 512, cpu_quota: 50_000, memory: 1 << 30, oom_score_adj: -997 };
        assert_eq!((class, limits), ("Guaranteed", expected));
        let (class, limits) = numbers(json!({"requests": {"memory": "2Gi"}}));
        assert_eq!((class, limits.oom_score_adj), ("Burstable", 750));
    }

    #[test]
    fn downward_values_round_up() {
        let pod = pod(json!({"limits": {"cpu": "1500m", "memory": "1M"}}));
        let container = &pods::app_containers(&pod)[0];
        let node = BTreeMap::from([("ephemeral-storage".to_owned(), Text("3k".into()))]);
        let value = |r: &str, d: Option<&str>| field_value(container, r, d.map(|d| Text(d.into())).as_ref(), &node);
        assert_eq!(value("limits.cpu", None), Ok("2".into()));
        assert_eq!(value("limits.cpu", Some("1m")), Ok("1500".into()));
        assert_eq!(value("limits.memory", Some("1Mi")), Ok("1".into()));
        assert_eq!(value("limits.ephemeral-storage", None), Ok("3000".into()));
        assert!(value("nonsense", None).is_err());
    }
}
