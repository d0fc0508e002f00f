//! Ports on the nodes: those that a Service is given, and whether it may have those it asks for.

use std::collections::{HashMap, HashSet};

use api_machinery::{ApiError, ErrorList, Path, Reason, Value, object};
use store_api::ReadAt;

use super::bands;
use crate::Registry;
use crate::claims::{PORT_PREFIX, ports};
use crate::errors::from_store;
use crate::scope::Scope;

/// What is known of ports while those of one Service are chosen.
struct Chosen {
    /// Not to be picked.
    numbers: HashSet<u64>,
    /// Asked for, and given.
    asked: HashSet<i64>,
}

impl Chosen {
    fn by(service: &Value) -> Self {
        let health = int(service, "spec.healthCheckNodePort");
        let all = ports(service).iter().map(|port| int(port, "nodePort")).chain([health]);
        Self { numbers: all.filter_map(|port| u64::try_from(port).ok()).collect(), asked: HashSet::new() }
    }
}

fn int(value: &Value, path: &str) -> i64 {
    object::at(value, path).and_then(Value::as_i64).unwrap_or(0)
}

fn has_node_ports(service: &Value) -> bool {
    matches!(object::str_at(service, "spec.type"), "NodePort" | "LoadBalancer")
}

/// Whether ports are given that are not asked for.
fn is_given_more(service: &Value) -> bool {
    let declined = object::at(service, "spec.allocateLoadBalancerNodePorts") == Some(&Value::Bool(false));
    object::str_at(service, "spec.type") != "LoadBalancer" || !declined
}

/// Whether load balancers ask its nodes where it runs.
fn needs_health_port(service: &Value) -> bool {
    object::str_at(service, "spec.type") == "LoadBalancer"
        && object::str_at(service, "spec.externalTrafficPolicy") == "Local"
}

/// What one of the ports with a number asks for.
fn wanted(service: &Value, number: i64) -> Option<i64> {
    let same = ports(service).iter().filter(|port| int(port, "port") == number);
    same.map(|port| int(port, "nodePort")).find(|port| *port != 0)
}

fn set(service: &mut Value, index: usize, port: i64) {
    service["spec"]["ports"][index]["nodePort"] = port.into();
}

impl Registry {
    pub(super) async fn allocate_ports(
        &self,
        scope: &Scope<'_>,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let mut chosen = Chosen::by(service);
        if has_node_ports(service) {
            match old {
                None => self.ports_of_new(scope, service, &mut chosen).await?,
                Some(old) => self.ports_of_changed(scope, service, old, &mut chosen).await?,
            }
        }
        if needs_health_port(service) && !old.is_some_and(needs_health_port) {
            self.health_port(scope, service, &mut chosen).await?;
        }
        Ok(())
    }

    /// Ports of one number, for other protocols, are one on the nodes, too.
    async fn ports_of_new(&self, scope: &Scope<'_>, service: &mut Value, chosen: &mut Chosen) -> Result<(), ApiError> {
        let mut by_number: HashMap<i64, i64> = HashMap::new();
        for index in 0..ports(service).len() {
            let [number, own] = ["port", "nodePort"].map(|field| int(&ports(service)[index], field));
            if own == 0 && !is_given_more(service) {
                continue;
            }
            let port = match by_number.get(&number) {
                Some(shared) if own == 0 || own == *shared => *shared,
                Some(_) => self.asked_port(scope, service, index, own, chosen).await?,
                None => match wanted(service, number) {
                    Some(asked) => self.asked_port(scope, service, index, asked, chosen).await?,
                    None => self.free_port(chosen).await?,
                },
            };
            by_number.entry(number).or_insert(port);
            set(service, index, port);
        }
        Ok(())
    }

    async fn ports_of_changed(
        &self,
        scope: &Scope<'_>,
        service: &mut Value,
        old: &Value,
        chosen: &mut Chosen,
    ) -> Result<(), ApiError> {
        let before: HashSet<i64> = ports(old).iter().map(|port| int(port, "nodePort")).collect();
        let mut seen = HashSet::new();
        for index in 0..ports(service).len() {
            let own = int(&ports(service)[index], "nodePort");
            if own == 0 && !is_given_more(service) {
                continue;
            }
            let port = if own == 0 {
                self.free_port(chosen).await?
            } else if before.contains(&own) || chosen.asked.contains(&own) {
                own
            } else {
                self.asked_port(scope, service, index, own, chosen).await?
            };
            set(service, index, port);
            let protocol = object::str_at(&ports(service)[index], "protocol").to_owned();
            if seen.contains(&(protocol.clone(), port)) {
                // Upstream has no code of its own for it.
                let text = format!("duplicate nodePort: {{{protocol} {port}}}");
                return Err(ApiError::new(500, Reason::Unknown, text));
            }
            seen.insert((protocol, port));
        }
        Ok(())
    }

    async fn health_port(&self, scope: &Scope<'_>, service: &mut Value, chosen: &mut Chosen) -> Result<(), ApiError> {
        let asked = int(service, "spec.healthCheckNodePort");
        if asked == 0 {
            service["spec"]["healthCheckNodePort"] = self.free_port(chosen).await?.into();
            return Ok(());
        }
        match self.why_not_port(scope, asked, chosen).await? {
            None => Ok(()),
            Some(why) => {
                Err(ApiError::internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}")))
            }
        }
    }

    /// A port that is asked for, or why it cannot be given.
    async fn asked_port(
        &self,
        scope: &Scope<'_>,
        service: &Value,
        index: usize,
        port: i64,
        chosen: &mut Chosen,
    ) -> Result<i64, ApiError> {
        let mut errors = ErrorList::new();
        if let Some(why) = self.why_not_port(scope, port, chosen).await? {
            let path = Path::new("spec").child("ports").index(index).child("nodePort");
            errors.invalid(&path, &port.into(), &why);
        }
        scope.invalid(object::name(service), errors)?;
        Ok(port)
    }

    /// Upstream's allocator does not look at its range in a dry run. Else whether others have the port is found out in
    /// the transaction.
    async fn why_not_port(
        &self,
        scope: &Scope<'_>,
        port: i64,
        chosen: &mut Chosen,
    ) -> Result<Option<String>, ApiError> {
        let range = &self.config.node_ports;
        if !scope.info.dry_run && !u16::try_from(port).is_ok_and(|port| range.contains(&port)) {
            let (first, last) = (range.start(), range.end());
            let why = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
            return Ok(Some(why));
        }
        let held = !chosen.asked.insert(port) || (scope.info.dry_run && self.is_port_held(port).await?);
        Ok(held.then(|| "provided port is already allocated".to_owned()))
    }

    async fn is_port_held(&self, port: i64) -> Result<bool, ApiError> {
        let key = format!("{PORT_PREFIX}{port}");
        let found = self.store.get(key.as_bytes(), ReadAt::Local).await.map_err(from_store)?;
        Ok(found.kv.is_some())
    }

    async fn free_port(&self, chosen: &mut Chosen) -> Result<i64, ApiError> {
        let (first, last) = (u64::from(*self.config.node_ports.start()), u64::from(*self.config.node_ports.end()));
        let bands = bands(first, last, last.saturating_sub(first) + 1, 128);
        let port = self.free(PORT_PREFIX, &bands, &chosen.numbers, |port| port.to_string()).await?;
        let port = port.ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))?;
        chosen.numbers.insert(port);
        i64::try_from(port).map_err(ApiError::internal)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_needs_what() {
        let of = |spec: Value| {
            let service = json!({"spec": spec});
            (has_node_ports(&service), is_given_more(&service), needs_health_port(&service))
        };
        assert_eq!(of(json!({"type": "ClusterIP"})), (false, true, false));
        assert_eq!(of(json!({"type": "NodePort"})), (true, true, false));
        let balancer = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                              "allocateLoadBalancerNodePorts": false});
        assert_eq!(of(balancer), (true, false, true));
    }

    #[test]
    fn what_is_asked_for() {
        let service = json!({"spec": {"healthCheckNodePort": 30009, "ports": [
            {"port": 53}, {"port": 53, "nodePort": 30053}, {"port": 80, "nodePort": -1},
        ]}});
        assert_eq!((wanted(&service, 53), wanted(&service, 80), wanted(&service, 1)), (Some(30053), Some(-1), None));
        assert_eq!(Chosen::by(&service).numbers, HashSet::from([0, 30053, 30009]));
    }
}
