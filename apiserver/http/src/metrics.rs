//! What this server counts, under upstream's names, with labels bounded by what is served.

use std::sync::Arc;
use std::time::Duration;

use api_auth::authz::Decision;
use api_machinery::UserInfo;
use api_registry::Registry;
use api_schema::{FeatureGates, Resource};
use metrics::{counter, gauge, histogram};

use crate::audit::Trail;
use crate::discovery::{GIT_VERSION, MAJOR, MINOR};
use crate::flow::Watching;
use crate::request_info::RequestInfo;

const FLOW_SECONDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const ADMISSION_SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

/// Bucket bounds of our histograms, for whoever installs the recorder.
pub const BUCKETS: &[(&str, &[f64])] = &[
    ("apiserver_admission_controller_admission_duration_seconds", &ADMISSION_SECONDS),
    ("apiserver_admission_step_admission_duration_seconds", &ADMISSION_SECONDS),
    (
        "apiserver_client_certificate_expiration_seconds",
        &[
            0.0,
            1800.0,
            3600.0,
            7200.0,
            21_600.0,
            43_200.0,
            86_400.0,
            172_800.0,
            345_600.0,
            604_800.0,
            2_592_000.0,
            7_776_000.0,
            15_552_000.0,
            31_104_000.0,
        ],
    ),
    (
        "apiserver_request_duration_seconds",
        &[
            0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
            20.0, 30.0, 45.0, 60.0,
        ],
    ),
    ("apiserver_flowcontrol_request_wait_duration_seconds", &FLOW_SECONDS),
    ("apiserver_flowcontrol_request_execution_seconds", &FLOW_SECONDS),
    ("apiserver_flowcontrol_request_queue_length_after_enqueue", &[0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0]),
    ("apiserver_flowcontrol_work_estimated_seats", &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0]),
    (
        "apiserver_authentication_jwt_authenticator_latency_seconds",
        &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
    ),
    (
        "apiserver_authorization_webhook_duration_seconds",
        &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
    ),
    ("apiserver_response_sizes", &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]),
    ("apiserver_watch_events_sizes", &[1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131072.0]),
    (
        "authentication_duration_seconds",
        &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384],
    ),
    (
        "authorization_duration_seconds",
        &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384],
    ),
];

/// Labels of one request: nothing a client writes becomes a label unless it names what is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    dry_run: &'static str,
}

/// The component that a user is, if it is one: everybody else is not told apart.
pub(crate) fn system_client(user: &UserInfo) -> &'static str {
    const KNOWN: [&str; 3] = ["system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"];
    KNOWN.into_iter().find(|known| *known == user.name).unwrap_or("")
}

fn verb_label(info: &RequestInfo) -> &'static str {
    if info.is_resource && matches!(info.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy" | "log") {
        return "CONNECT";
    }
    match info.verb.as_str() {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

impl Labels {
    /// `known`: what the request is about, where that is served.
    pub(crate) fn new(info: &RequestInfo, known: Option<&Resource>, dry_run: bool) -> Self {
        let subresource = known.and_then(|resource| resource.subresource(&info.subresource));
        let scope = match (known.is_some(), info.named_in_path, info.namespace.is_empty()) {
            (false, _, _) => "",
            (true, true, _) => "resource",
            (true, false, false) => "namespace",
            (true, false, true) => "cluster",
        };
        let of = |text: &str| if known.is_some() { text.to_owned() } else { String::new() };
        Self {
            verb: verb_label(info),
            group: of(&info.group),
            version: of(&info.version),
            resource: of(&info.resource),
            subresource: subresource.map(|subresource| subresource.name.clone()).unwrap_or_default(),
            scope,
            dry_run: if dry_run { "All" } else { "" },
        }
    }

    /// Counts a request that has been answered; streams are counted when they begin.
    pub(crate) fn answered(
        &self,
        code: u16,
        took: Duration,
        system: &'static str,
        bytes: Option<u64>,
        long_running: bool,
    ) {
        counter!("apiserver_request_total", "component" => "apiserver", "verb" => self.verb, "group" => self.group.clone(),
            "version" => self.version.clone(), "resource" => self.resource.clone(),
            "subresource" => self.subresource.clone(), "scope" => self.scope, "dry_run" => self.dry_run,
            "code" => code.to_string(), "system_client" => system)
        .increment(1);
        if long_running {
            return;
        }
        histogram!("apiserver_request_duration_seconds", "component" => "apiserver", "verb" => self.verb,
            "group" => self.group.clone(), "version" => self.version.clone(), "resource" => self.resource.clone(),
            "subresource" => self.subresource.clone(), "scope" => self.scope, "dry_run" => self.dry_run)
        .record(took.as_secs_f64());
        if let Some(bytes) = bytes {
            histogram!("apiserver_response_sizes", "component" => "apiserver", "verb" => self.verb,
                "group" => self.group.clone(), "version" => self.version.clone(), "resource" => self.resource.clone(),
                "subresource" => self.subresource.clone(), "scope" => self.scope)
            .record(bytes as f64);
        }
    }

    /// Counts a watch or stream while the answer is held.
    pub(crate) fn long_running(&self, trail: Option<Arc<Trail>>) -> LongRunning {
        let labels = [
            ("verb", self.verb.to_owned()),
            ("group", self.group.clone()),
            ("version", self.version.clone()),
            ("resource", self.resource.clone()),
            ("subresource", self.subresource.clone()),
            ("scope", self.scope.to_owned()),
            ("component", "apiserver".to_owned()),
        ];
        let gauge = gauge!("apiserver_longrunning_requests", &labels);
        gauge.increment(1.0);
        LongRunning { gauge, _trail: trail }
    }
}

/// One watch or stream that is open. Its audit ends with it.
pub(crate) struct LongRunning {
    gauge: metrics::Gauge,
    _trail: Option<Arc<Trail>>,
}

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

/// Counts the events of one watch.
pub(crate) struct WatchMeter {
    events: metrics::Counter,
    sizes: metrics::Histogram,
    _open: LongRunning,
    _watching: Option<Watching>,
}

impl WatchMeter {
    pub(crate) fn new(labels: &Labels, open: LongRunning, watching: Option<Watching>) -> Self {
        let of = [
            ("group", labels.group.clone()),
            ("version", labels.version.clone()),
            ("resource", labels.resource.clone()),
        ];
        Self {
            events: counter!("apiserver_watch_events_total", &of),
            sizes: histogram!("apiserver_watch_events_sizes", &of),
            _open: open,
            _watching: watching,
        }
    }
    pub(crate) fn event(&self, bytes: usize) {
        self.events.increment(1);
        self.sizes.record(bytes as f64);
    }
}

/// Counts how a request was authenticated: `success`, `failure` or `error`.
pub(crate) fn authenticated(result: &'static str, took: Duration) {
    counter!("authentication_attempts", "result" => result).increment(1);
    histogram!("authentication_duration_seconds", "result" => result).record(took.as_secs_f64());
}

/// Counts a decision of the authorizer.
pub(crate) fn authorized(decision: &Decision, took: Duration) {
    let result = match decision {
        Decision::Allow { .. } => "allowed",
        Decision::Deny { .. } => "denied",
        Decision::NoOpinion { .. } => "no-opinion",
        Decision::Failed { .. } => "error",
    };
    counter!("authorization_attempts_total", "result" => result).increment(1);
    histogram!("authorization_duration_seconds", "result" => result).record(took.as_secs_f64());
}

/// The version this server behaves as, for whoever joins metrics with it.
pub(crate) fn build_info() {
    let labels = [("major", MAJOR), ("minor", MINOR), ("git_version", GIT_VERSION), ("compiler", "rustc")];
    gauge!("kubernetes_build_info", &labels).set(1.0);
}

/// Which features are on.
pub(crate) fn features(gates: &FeatureGates) {
    for (name, stage, on) in gates.all() {
        gauge!("kubernetes_feature_enabled", "name" => name, "stage" => stage).set(f64::from(u8::from(on)));
    }
}

/// Upstream's name of the one cluster that it stores in.
const STORAGE_CLUSTER: &str = "etcd-0";

/// What is stored, counted when somebody asks.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn storage(registry: &Registry) {
    let own = |resource: &&Resource| resource.storage == resource.group_resource() && resource.has_verb("list");
    for resource in registry.schema.resources().iter().filter(own) {
        let count = registry.cache.count(&resource.storage) as f64;
        gauge!("apiserver_storage_objects", "resource" => resource.storage.to_string()).set(count);
        let labels =
            [("group", resource.storage.group.to_string()), ("resource", resource.storage.resource.to_string())];
        gauge!("apiserver_resource_objects", &labels).set(count);
    }
    let bytes = registry.store.status().disk_bytes as f64;
    gauge!("apiserver_storage_size_bytes", "storage_cluster_id" => STORAGE_CLUSTER).set(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use api_schema::Schema;

    use super::*;

    fn labels(verb: &str, resource: &str, subresource: &str) -> Labels {
        let info = RequestInfo {
            is_resource: true,
            verb: verb.to_owned(),
            prefix: "api".to_owned(),
            version: "v1".to_owned(),
            namespace: "default".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            ..RequestInfo::default()
        };
        Labels::new(&info, info.resource(Schema::builtin()), false)
    }

    /// Row A51 of the list of attacks.
    #[test]
    fn a51_what_clients_write_becomes_no_label() {
        let made_up: HashSet<String> = (0..1_000)
            .map(|index| format!("{:?}", labels(&format!("VERB{index}"), &format!("r{index}"), &format!("s{index}"))))
            .chain((0..1_000).map(|index| format!("{:?}", labels("other", "pods", &format!("s{index}")))))
            .collect();
        assert_eq!(made_up.len(), 2, "{made_up:?}");
        assert_eq!(labels("list", "pods", "").resource, "pods");
        let user = |name: &str| UserInfo { name: name.to_owned(), ..UserInfo::default() };
        assert_eq!(system_client(&user("system:anything")), "");
        assert_eq!(system_client(&user("system:kube-scheduler")), "system:kube-scheduler");
    }
}
