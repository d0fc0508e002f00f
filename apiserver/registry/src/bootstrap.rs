//! The objects every cluster has. Run by every replica at its start: what exists is kept, what RBAC
//! lacks is added again, as upstream does after an upgrade.

mod rbac;

use std::net::SocketAddr;
use std::sync::LazyLock;

use api_admission::View as _;
use api_machinery::error::Result;
use api_machinery::{ApiError, GroupVersion, GroupVersionKind, Reason, Value, object};
use api_schema::{Resource, Schema};
use futures::StreamExt;
use serde_json::json;

use crate::allocate::Cidr;
use crate::parts::Part;
use crate::scope::Scope;
use crate::update::Desired;
use crate::{Registry, RequestInfo, Target};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Objects under way at once.
const AT_ONCE: usize = 16;
const SECURE_PORT: u16 = 6443;
const USER: &str = "system:apiserver";
/// Who manages what is written here, as upstream's API server calls itself.
const MANAGER: &str = "kube-apiserver";
/// The same of priority and fairness.
const FLOW_MANAGER: &str = "api-priority-and-fairness-config-producer-v1";

/// Label of the APIServices that are made and unmade here, and its value.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const ON_START: &str = "onstart";

/// The group of FlowSchemas and priority levels.
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";

/// Facts of Kubernetes v1.36, one list per kind; the ones whose absence hurts first.
static FACTS: LazyLock<std::result::Result<Vec<Value>, serde_json::Error>> = LazyLock::new(|| {
    let files = [
        include_str!("../facts/prioritylevelconfigurations.json"),
        include_str!("../facts/flowschemas.json"),
        include_str!("../facts/priorityclasses.json"),
        include_str!("../facts/clusterroles.json"),
        include_str!("../facts/clusterrolebindings.json"),
        include_str!("../facts/roles.json"),
        include_str!("../facts/rolebindings.json"),
    ];
    let mut all = Vec::new();
    for file in files {
        all.extend(serde_json::from_str::<Vec<Value>>(file)?);
    }
    rbac::aggregate(&mut all);
    Ok(all)
});

/// Of every version that is served but the one APIServices are themselves of, as upstream.
fn api_services(schema: &Schema) -> Vec<Value> {
    let mut services = Vec::new();
    for group in schema.groups() {
        for version in &group.versions {
            let Some((priority, version_priority)) = schema.aggregation_priorities(&group.name, version) else {
                continue;
            };
            let mut service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": format!("{version}.{}", group.name), "labels": {AUTOMANAGED: ON_START}},
                "spec": {"version": version, "groupPriorityMinimum": priority, "versionPriority": version_priority}});
            if !group.name.is_empty() {
                service["spec"]["group"] = group.name.as_str().into();
            }
            services.push(service);
        }
    }
    services
}

impl Registry {
    /// Creates the objects every cluster has (namespaces, RBAC, priority classes, flow control, kubernetes Service),
    /// idempotently.
    pub async fn bootstrap(&self) -> Result<()> {
        let namespaces =
            NAMESPACES.map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        self.ensure_all(namespaces.into()).await?;
        self.refresh().await?;
        let facts = FACTS.as_ref().map_err(ApiError::internal)?;
        self.ensure_all(facts.clone()).await?;
        self.publish_versions().await?;
        let cidr = &self.config.service_cidr;
        let parsed = Cidr::parse(cidr).ok_or_else(|| ApiError::internal(format!("bad service CIDR {cidr:?}")))?;
        self.ensure_all(vec![kubernetes_service(&parsed), service_cidr(cidr)]).await
    }

    /// An APIService for every version that is served; those of versions that are not any more go.
    async fn publish_versions(&self) -> Result<()> {
        let wanted = api_services(self.schema);
        let names: Vec<String> = wanted.iter().map(|one| object::name(one).to_owned()).collect();
        self.ensure_all(wanted).await?;
        let Some(resource) = self.schema.own("apiregistration.k8s.io", "v1", "apiservices") else { return Ok(()) };
        for stored in self.cache.list(&resource.storage, None).objects {
            let name = stored.key.name.to_string();
            if stored.label(AUTOMANAGED) == Some(ON_START) && !names.contains(&name) {
                self.delete_own(resource, "", &name).await?;
            }
        }
        Ok(())
    }

    /// Deletes what may be gone already.
    async fn delete_own(&self, resource: &Resource, namespace: &str, name: &str) -> Result<()> {
        let target = Target { resource, namespace, name, subresource: "" };
        match self.delete(&info(), &target, crate::DeleteOptions::default()).await {
            Err(error) if error.reason == Reason::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Keeps the objects of priority and fairness as upstream does: what was deleted is made again, the mandatory ones
    /// are as this server knows them, suggested ones too unless an operator changed them, and those that another
    /// version of a server made and this one does not know go.
    pub async fn keep_flow_control(&self) -> Result<()> {
        let facts = FACTS.as_ref().map_err(ApiError::internal)?;
        let ours = |fact: &&Value| object::str_at(fact, "apiVersion").starts_with(FLOW_CONTROL);
        let wanted: Vec<Value> = facts.iter().filter(ours).cloned().collect();
        for (plural, kind) in
            [("flowschemas", "FlowSchema"), ("prioritylevelconfigurations", "PriorityLevelConfiguration")]
        {
            let known: Vec<&str> = wanted.iter().filter(|fact| fact["kind"] == kind).map(object::name).collect();
            self.drop_unwanted(plural, &known).await?;
        }
        self.ensure_all(wanted).await
    }

    async fn drop_unwanted(&self, plural: &str, known: &[&str]) -> Result<()> {
        let Some(resource) = self.schema.own(FLOW_CONTROL, "v1", plural) else { return Ok(()) };
        for stored in self.cache.list(&resource.storage, None).objects {
            if api_flow::unwanted(&stored.kept_value(), known) {
                self.delete_own(resource, "", &stored.key.name).await?;
            }
        }
        Ok(())
    }

    /// Says where the API servers are: Endpoints and EndpointSlice `kubernetes` of namespace `default`.
    pub async fn publish_endpoints(&self, addresses: &[SocketAddr]) -> Result<()> {
        let mut addresses = addresses.to_vec();
        addresses.sort();
        addresses.dedup();
        let slices = endpoint_slices(&addresses);
        let keep: Vec<String> = slices.iter().map(|slice| object::name(slice).to_owned()).collect();
        for wanted in std::iter::once(endpoints(&addresses)).chain(slices) {
            self.ensure(&wanted, &|old| {
                let mut new = old.clone();
                for field in ["subsets", "addressType", "endpoints", "ports"] {
                    api_kinds::keep_field(&mut new, &wanted, field);
                }
                new
            })
            .await?;
        }
        self.drop_slices(&keep).await
    }

    /// Deletes slices of ports that no API server has any more.
    async fn drop_slices(&self, keep: &[String]) -> Result<()> {
        let Some(resource) = self.schema.own("discovery.k8s.io", "v1", "endpointslices") else { return Ok(()) };
        for slice in self.cache.list(&resource.storage, Some("default")).objects {
            let ours = slice.label("kubernetes.io/service-name") == Some("kubernetes");
            let name = slice.key.name.to_string();
            if ours && !keep.contains(&name) {
                self.delete_own(resource, "default", &name).await?;
            }
        }
        Ok(())
    }

    async fn ensure_all(&self, objects: Vec<Value>) -> Result<()> {
        let work: Vec<_> = objects
            .into_iter()
            .map(|wanted| async move { self.ensure(&wanted, &|old| reconciled(old, &wanted)).await })
            .collect();
        // All are tried: one that is refused must not keep the others away.
        let done: Vec<Result<()>> = futures::stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        done.into_iter().collect()
    }

    /// Creates an object, or changes the one there is as `mend` says.
    async fn ensure(&self, wanted: &Value, mend: &(dyn Fn(&Value) -> Value + Send + Sync)) -> Result<()> {
        let gv = GroupVersion::parse(object::str_at(wanted, "apiVersion"));
        let kind = object::str_at(wanted, "kind").into();
        let Some(resource) = self.schema.own_of_kind(&GroupVersionKind { group: gv.group, version: gv.version, kind })
        else {
            return Ok(());
        };
        let flow_control = &*resource.gv.group == FLOW_CONTROL;
        let info = if flow_control { managed_by(FLOW_MANAGER) } else { info() };
        let name = object::name(wanted);
        let target = Target { resource, namespace: object::namespace(wanted), name, subresource: "" };
        let notes = info.notes();
        let scope = self.scope(&info, &target, &notes);
        if let Some(known) = self.cache.get(&scope.key(name)).map(|object| object.value()) {
            if rbac::binds_elsewhere(&known, wanted) {
                return self.make_anew(&scope, &known, wanted).await;
            }
            if mend(&known) == *known {
                return Ok(());
            }
        } else {
            match self.create_from_body(&scope, crate::Body::Value(wanted.clone())).await {
                Err(error) if error.reason == Reason::AlreadyExists => {}
                Err(error) => {
                    tracing::error!(%error, kind = object::str_at(wanted, "kind"), name, "a bootstrap object was refused");
                    return Err(error);
                }
                Ok(_) => return Ok(()),
            }
        }
        self.mend(&scope, mend).await
    }

    /// For what cannot be changed. Another replica may do the same.
    async fn make_anew(&self, scope: &Scope<'_>, known: &Value, wanted: &Value) -> Result<()> {
        let target = Target { resource: scope.resource, namespace: scope.namespace, name: scope.name, subresource: "" };
        let uid = object::uid(known).to_owned();
        let options = crate::DeleteOptions { precondition_uid: Some(uid), ..Default::default() };
        match self.delete(&info(), &target, options).await {
            Err(error) if !matches!(error.reason, Reason::NotFound | Reason::Conflict) => return Err(error),
            _ => {}
        }
        match self.create_from_body(scope, crate::Body::Value(wanted.clone())).await {
            Err(error) if error.reason == Reason::AlreadyExists => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn mend(&self, scope: &Scope<'_>, mend: &(dyn Fn(&Value) -> Value + Send + Sync)) -> Result<()> {
        let edit = |old: &Value| Ok(mend(old));
        match self.guarded_update(scope, Part::Whole, &Desired::Edit(&edit)).await {
            // Deleted meanwhile by somebody who wants it so.
            Err(error) if error.reason == Reason::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// What there is, and what it lacks of what every cluster has.
fn reconciled(old: &Value, wanted: &Value) -> Value {
    match object::str_at(wanted, "apiVersion").starts_with(FLOW_CONTROL) {
        true => api_flow::revise(old, wanted),
        false => rbac::reconcile(old, wanted),
    }
}

fn info() -> RequestInfo {
    managed_by(MANAGER)
}

fn managed_by(manager: &str) -> RequestInfo {
    RequestInfo { field_manager: manager.to_owned(), ..RequestInfo::internal(USER) }
}

fn kubernetes_service(cidr: &Cidr) -> Value {
    let ip = cidr.address(1).to_string();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "sessionAffinity": "None",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": SECURE_PORT}],
        },
    })
}

fn service_cidr(cidr: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": [cidr]},
    })
}

/// Addresses by port: one subset each.
fn by_port(addresses: &[SocketAddr]) -> Vec<(u16, Vec<String>)> {
    let mut ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    let of = |port: u16| addresses.iter().filter(|one| one.port() == port).map(|one| one.ip().to_string()).collect();
    ports.into_iter().map(|port| (port, of(port))).collect()
}

fn endpoints(addresses: &[SocketAddr]) -> Value {
    let subsets: Vec<Value> = by_port(addresses)
        .into_iter()
        .map(|(port, ips)| {
            let ips: Vec<Value> = ips.into_iter().map(|ip| json!({"ip": ip})).collect();
            json!({"addresses": ips, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": subsets,
    })
}

/// A slice has one set of ports: replicas on one machine differ by port, so each port has its own. The first
/// has upstream's name.
fn endpoint_slices(addresses: &[SocketAddr]) -> Vec<Value> {
    let slice = |index: usize, port: u16, ips: Vec<String>| {
        let name = if index == 0 { "kubernetes".to_owned() } else { format!("kubernetes-{port}") };
        let endpoints: Vec<Value> =
            ips.into_iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        })
    };
    by_port(addresses).into_iter().enumerate().map(|(index, (port, ips))| slice(index, port, ips)).collect()
}
