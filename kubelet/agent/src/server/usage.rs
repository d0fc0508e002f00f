//! What the node and its pods use: `/metrics/resource` for metrics-server, `/stats/summary` for everyone else.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use http::StatusCode;
use kubelet_core::pods;
use serde_json::{Value, json};

use super::{Answer, content, text};
use crate::agent::Node;
use crate::worker::View;
use crate::{clock, machine, stats};

/// One container that runs.
struct Container {
    name: String,
    /// Nanoseconds of CPU so far.
    cpu: i64,
    /// Bytes of memory, and of its writable layer.
    memory: i64,
    layer: i64,
    /// Since when, in seconds since 1970.
    started: f64,
}

/// One pod that runs.
struct Pod {
    namespace: String,
    name: String,
    uid: String,
    containers: Vec<Container>,
}

struct Usage {
    node: String,
    /// As for a container.
    cpu: i64,
    memory: i64,
    available: i64,
    disk: Option<(i64, i64)>,
    pods: Vec<Pod>,
    /// Milliseconds since 1970.
    at: i64,
}

pub(super) async fn metrics(node: &Node) -> Answer {
    match look(node).await {
        Ok(usage) => content(StatusCode::OK, "text/plain; version=0.0.4", exposition(&usage)),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

pub(super) async fn summary(node: &Node) -> Answer {
    match look(node).await {
        Ok(usage) => content(StatusCode::OK, "application/json", summarize(&usage).to_string()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

async fn look(node: &Node) -> Result<Usage, String> {
    let mut used = stats::containers(node).await.map_err(|e| e.to_string())?;
    let mut running: Vec<_> = node.views().iter().map(|view| pod(view, &mut used)).collect();
    running.retain(|pod| !pod.containers.is_empty());
    running.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let available = machine::meminfo("MemAvailable:").unwrap_or(0);
    Ok(Usage {
        node: node.config.node_name.clone(),
        cpu: machine::cpu_nanos().unwrap_or(0),
        memory: node.machine.memory - available,
        available,
        disk: machine::filesystem(&node.config.root_dir),
        pods: running,
        at: clock::now().as_millisecond(),
    })
}

type Used = HashMap<String, std::collections::BTreeMap<String, kubelet_cri::cri::ContainerStats>>;

fn pod(view: &Arc<View>, used: &mut Used) -> Pod {
    let (namespace, name, uid) = pods::identity(&view.pod);
    let statuses = [&view.status.init_container_statuses, &view.status.container_statuses];
    let started = |container: &str| {
        let status = statuses.into_iter().flatten().flatten().find(|s| s.name == container)?;
        let at = status.state.as_ref()?.running.as_ref()?.started_at.as_ref()?;
        Some(at.0.as_millisecond() as f64 / 1000.0)
    };
    let of_pod = used.remove(uid).unwrap_or_default();
    let containers = of_pod.iter().filter_map(|(name, stats)| {
        Some(Container {
            name: name.clone(),
            cpu: stats::cpu(stats),
            memory: stats::working_set(stats),
            layer: stats::writable_layer(stats),
            started: started(name)?,
        })
    });
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        containers: containers.collect(),
    }
}

impl Pod {
    fn cpu(&self) -> i64 {
        self.containers.iter().map(|c| c.cpu).sum()
    }

    fn memory(&self) -> i64 {
        self.containers.iter().map(|c| c.memory).sum()
    }
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// Names and help of upstream's resource metrics.
fn exposition(usage: &Usage) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, f64)>| {
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value} {}", usage.at);
        }
    };
    let of_containers = |value: &dyn Fn(&Container) -> f64| -> Vec<(String, f64)> {
        let all = usage.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
        let labels = |pod: &Pod, container: &Container| {
            format!("{{container=\"{}\",namespace=\"{}\",pod=\"{}\"}}", container.name, pod.namespace, pod.name)
        };
        all.map(|(pod, container)| (labels(pod, container), value(container))).collect()
    };
    let of_pods = |value: &dyn Fn(&Pod) -> f64| -> Vec<(String, f64)> {
        let labels = |pod: &Pod| format!("{{namespace=\"{}\",pod=\"{}\"}}", pod.namespace, pod.name);
        usage.pods.iter().map(|pod| (labels(pod), value(pod))).collect()
    };
    let of_node = |value: f64| vec![(String::new(), value)];
    let cpu = "Cumulative cpu time consumed by the";
    let memory = "Current working set of the";
    family(
        "container_cpu_usage_seconds_total",
        "counter",
        &format!("{cpu} container in core-seconds"),
        of_containers(&|c| seconds(c.cpu)),
    );
    family(
        "container_memory_working_set_bytes",
        "gauge",
        &format!("{memory} container in bytes"),
        of_containers(&|c| c.memory as f64),
    );
    family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
        of_containers(&|c| c.started),
    );
    family(
        "node_cpu_usage_seconds_total",
        "counter",
        &format!("{cpu} node in core-seconds"),
        of_node(seconds(usage.cpu)),
    );
    family("node_memory_working_set_bytes", "gauge", &format!("{memory} node in bytes"), of_node(usage.memory as f64));
    family(
        "pod_cpu_usage_seconds_total",
        "counter",
        &format!("{cpu} pod in core-seconds"),
        of_pods(&|pod| seconds(pod.cpu())),
    );
    family(
        "pod_memory_working_set_bytes",
        "gauge",
        &format!("{memory} pod in bytes"),
        of_pods(&|pod| pod.memory() as f64),
    );
    out.push_str("# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise\n# TYPE resource_scrape_error gauge\nresource_scrape_error 0\n");
    out
}

fn summarize(usage: &Usage) -> Value {
    let time = jiff::Timestamp::from_millisecond(usage.at).map(api_machinery::time::seconds).unwrap_or_default();
    let cpu = |nanos: i64| json!({"time": time, "usageCoreNanoSeconds": nanos});
    let memory = |bytes: i64| json!({"time": time, "workingSetBytes": bytes});
    let start = |seconds: f64| {
        jiff::Timestamp::from_second(seconds as i64).map(api_machinery::time::seconds).unwrap_or_default()
    };
    let container = |c: &Container| {
        json!({
            "name": c.name, "startTime": start(c.started), "cpu": cpu(c.cpu), "memory": memory(c.memory),
            "rootfs": {"time": time, "usedBytes": c.layer},
        })
    };
    let pod = |pod: &Pod| {
        json!({
            "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "cpu": cpu(pod.cpu()), "memory": memory(pod.memory()),
            "containers": pod.containers.iter().map(container).collect::<Vec<_>>(),
        })
    };
    let mut node = json!({"nodeName": usage.node, "cpu": cpu(usage.cpu), "memory": memory(usage.memory)});
    node["memory"]["availableBytes"] = json!(usage.available);
    if let Some((capacity, available)) = usage.disk {
        let used = capacity - available;
        node["fs"] = json!({"time": time, "capacityBytes": capacity, "availableBytes": available, "usedBytes": used});
    }
    json!({"node": node, "pods": usage.pods.iter().map(pod).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        let container =
            |name: &str, cpu| Container { name: name.to_owned(), cpu, memory: 4096, layer: 10, started: 100.5 };
        let containers = vec![container("a", 1_500_000_000), container("b", 500_000_000)];
        let pod = Pod { namespace: "n".into(), name: "p".into(), uid: "u".into(), containers };
        let (cpu, disk) = (9_000_000_000, Some((100, 40)));
        Usage { node: "node".into(), cpu, memory: 7000, available: 3000, disk, pods: vec![pod], at: 1000 }
    }

    #[test]
    fn metrics_as_upstream_names_them() {
        let shown = exposition(&usage());
        let samples: Vec<_> = shown.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 1.5 1000",
                "container_cpu_usage_seconds_total{container=\"b\",namespace=\"n\",pod=\"p\"} 0.5 1000",
                "container_memory_working_set_bytes{container=\"a\",namespace=\"n\",pod=\"p\"} 4096 1000",
                "container_memory_working_set_bytes{container=\"b\",namespace=\"n\",pod=\"p\"} 4096 1000",
                "container_start_time_seconds{container=\"a\",namespace=\"n\",pod=\"p\"} 100.5 1000",
                "container_start_time_seconds{container=\"b\",namespace=\"n\",pod=\"p\"} 100.5 1000",
                "node_cpu_usage_seconds_total 9 1000",
                "node_memory_working_set_bytes 7000 1000",
                "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 2 1000",
                "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 8192 1000",
                "resource_scrape_error 0",
            ]
        );
    }

    #[test]
    fn a_summary_of_the_node_and_its_pods() {
        let summary = summarize(&usage());
        assert_eq!(summary["node"]["fs"]["usedBytes"], 60);
        assert_eq!(summary["pods"][0]["podRef"]["name"], "p");
        assert_eq!(summary["pods"][0]["cpu"]["usageCoreNanoSeconds"], 2_000_000_000_i64);
        assert_eq!(summary["pods"][0]["containers"][1]["startTime"], "1970-01-01T00:01:40Z");
    }
}
