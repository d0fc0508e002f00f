//! The environment of a container: env, envFrom, service links, `$(VAR)` and the downward API.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::{pods, resources};

/// ConfigMaps and secrets the agent has read for this pod, by name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub secrets: BTreeMap<String, Secret>,
}

/// What only the running node knows of the pod.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    pub host_ip: String,
    pub pod_ips: Vec<String>,
    pub allocatable: BTreeMap<String, Quantity>,
}

/// The variables of a container, by name. `Err`: the message of `CreateContainerConfigError`.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    services: &BTreeMap<String, String>,
    runtime: &Runtime,
) -> Result<BTreeMap<String, String>, String> {
    let mut result = BTreeMap::new();
    env_from(container, sources, &mut result)?;
    for var in container.env.as_deref().unwrap_or(&[]) {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) if !value.is_empty() => {
                Some(expand(value, |name| result.get(name).or_else(|| services.get(name)).map(String::as_str)))
            }
            (_, Some(source)) => from_source(pod, container, source, sources, runtime)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            result.insert(var.name.clone(), value);
        }
    }
    for (name, value) in services {
        result.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(result)
}

fn env_from(container: &Container, sources: &Sources, result: &mut BTreeMap<String, String>) -> Result<(), String> {
    for source in container.env_from.as_deref().unwrap_or(&[]) {
        let prefix = source.prefix.as_deref().unwrap_or("");
        if let Some(reference) = &source.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        result.insert(format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        result.insert(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
    }
    Ok(())
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &Sources,
    runtime: &Runtime,
) -> Result<Option<String>, String> {
    let namespace = pods::identity(pod).0;
    if let Some(field) = &source.field_ref {
        return field_value(pod, &field.field_path, runtime).map(Some);
    }
    if let Some(field) = &source.resource_field_ref {
        let of = match field.container_name.as_deref().filter(|n| !n.is_empty()) {
            Some(name) => pods::find_container(pod, name).ok_or_else(|| format!("container {name} not found"))?.1,
            None => container.clone(),
        };
        return resources::field_value(&of, &field.resource, field.divisor.as_ref(), &runtime.allocatable).map(Some);
    }
    if let Some(key) = &source.config_map_key_ref {
        let optional = key.optional == Some(true);
        return match sources.config_maps.get(&key.name) {
            None if optional => Ok(None),
            None => Err(format!("configmap {:?} not found", key.name)),
            Some(map) => match map.data.as_ref().and_then(|d| d.get(&key.key)) {
                Some(value) => Ok(Some(value.clone())),
                None if optional => Ok(None),
                None => Err(format!("couldn't find key {} in ConfigMap {namespace}/{}", key.key, key.name)),
            },
        };
    }
    if let Some(key) = &source.secret_key_ref {
        let optional = key.optional == Some(true);
        return match sources.secrets.get(&key.name) {
            None if optional => Ok(None),
            None => Err(format!("secret {:?} not found", key.name)),
            Some(secret) => match secret.data.as_ref().and_then(|d| d.get(&key.key)) {
                Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
                None if optional => Ok(None),
                None => Err(format!("couldn't find key {} in Secret {namespace}/{}", key.key, key.name)),
            },
        };
    }
    Ok(Some(String::new()))
}

/// `fieldRef` of an environment variable or a downward API file.
pub fn field_value(pod: &Pod, path: &str, runtime: &Runtime) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((field, key)) = subscript(path) {
        let map = match field {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(format!("invalid fieldPath {path:?}")),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let spec = pods::spec(pod);
    let text = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(format_map(meta.labels.as_ref())),
        "metadata.annotations" => Some(format_map(meta.annotations.as_ref())),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()),
        "status.hostIP" | "status.hostIPs" => Some(runtime.host_ip.clone()),
        "status.podIP" => runtime.pod_ips.first().cloned(),
        "status.podIPs" => Some(runtime.pod_ips.join(",")),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    };
    Ok(text.unwrap_or_default())
}

/// `metadata.labels['key']`
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.split_once("['")?;
    Some((field, rest.strip_suffix("']")?))
}

/// Lines of `key="value"`, sorted, quoted as Go quotes.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<_> = map.into_iter().flatten().map(|(k, v)| format!("{k}={}", go_quote(v))).collect();
    lines.join("\n")
}

fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Replaces `$(VAR)` by its value; `$$` is a dollar; references to what is unknown stay as they are.
pub fn expand<'a>(input: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(dollar) = rest.find('$') {
        output.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            output.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            match lookup(name) {
                Some(value) => output.push_str(value),
                None => {
                    output.push_str("$(");
                    output.push_str(name);
                    output.push(')');
                }
            }
            rest = tail;
        } else {
            output.push('$');
            rest = after;
        }
    }
    output.push_str(rest);
    output
}

/// The variables that name services: those of the pod's namespace when it wants links, and always `kubernetes`.
pub fn service_variables(pod: &Pod, services: &[&Service]) -> BTreeMap<String, String> {
    let namespace = pods::identity(pod).0;
    let links = pods::spec(pod).and_then(|s| s.enable_service_links).unwrap_or(true);
    let mut result = BTreeMap::new();
    // The pod's own namespace goes last: it wins over the master's service of the same name.
    let master = |s: &Service| {
        s.metadata.namespace.as_deref() == Some("default") && s.metadata.name.as_deref() == Some("kubernetes")
    };
    for service in services.iter().filter(|s| master(s)) {
        add_service(service, &mut result);
    }
    for service in services.iter().filter(|s| links && s.metadata.namespace.as_deref() == Some(namespace)) {
        add_service(service, &mut result);
    }
    result
}

fn add_service(service: &Service, result: &mut BTreeMap<String, String>) {
    let Some((name, spec)) = service.metadata.name.as_deref().zip(service.spec.as_ref()) else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
    let ports = spec.ports.as_deref().unwrap_or(&[]);
    let Some(first) = ports.first() else { return };
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let prefix = variable_name(name);
    let mut set = |key: String, value: String| result.insert(key, value);
    set(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    set(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            set(format!("{prefix}_SERVICE_PORT_{}", variable_name(port_name)), port.port.to_string());
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            set(format!("{prefix}_PORT"), url.clone());
        }
        let base = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        set(base.clone(), url);
        set(format!("{base}_PROTO"), protocol.to_lowercase());
        set(format!("{base}_PORT"), port.port.to_string());
        set(format!("{base}_ADDR"), ip.to_owned());
    }
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expansion() {
        let lookup = |name: &str| (name == "A").then_some("1");
        let cases =
            [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)x", "$(B)x"), ("$A$", "$A$"), ("$(A", "$(A"), ("$$$(A)", "$1")];
        for (input, expected) in cases {
            assert_eq!(expand(input, lookup), expected, "{input}");
        }
    }

    #[test]
    fn a_whole_environment() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b", "c": "d\"e"}},
            "spec": {"containers": [{
                "name": "c",
                "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "X_"}, {"secretRef": {"name": "gone", "optional": true}}],
                "env": [
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "LABELS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}},
                    {"name": "URL", "value": "http://$(WEB_SERVICE_HOST)/$(NAME)/$(X_k)"},
                    {"name": "OPT", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": true}}},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "EMPTY"},
                ]}]}
        }))
        .expect("a pod");
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "n"},
            "spec": {"clusterIP": "10.0.0.9", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
        }))
        .expect("a service");
        let services = service_variables(&pod, &[&service]);
        let map = serde_json::from_value(json!({"data": {"k": "v"}})).expect("a map");
        let sources = Sources { config_maps: BTreeMap::from([("m".to_owned(), map)]), ..Sources::default() };
        let runtime = Runtime { pod_ips: vec!["10.1.0.2".into()], ..Runtime::default() };
        let env = environment(&pod, &pods::app_containers(&pod)[0], &sources, &services, &runtime).expect("env");
        let lines: Vec<_> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        expect_test::expect![[r#"
            EMPTY=
            IP=10.1.0.2
            LABELS=a="b"
            c="d\"e"
            NAME=p
            URL=http://10.0.0.9/p/v
            WEB_PORT=tcp://10.0.0.9:80
            WEB_PORT_80_TCP=tcp://10.0.0.9:80
            WEB_PORT_80_TCP_ADDR=10.0.0.9
            WEB_PORT_80_TCP_PORT=80
            WEB_PORT_80_TCP_PROTO=tcp
            WEB_SERVICE_HOST=10.0.0.9
            WEB_SERVICE_PORT=80
            WEB_SERVICE_PORT_HTTP=80
            X_k=v"#]]
        .assert_eq(&lines.join("\n"));
        let none = Sources::default();
        let error = environment(&pod, &pods::app_containers(&pod)[0], &none, &services, &runtime);
        assert_eq!(error, Err("configmap \"m\" not found".into()));
    }
}
