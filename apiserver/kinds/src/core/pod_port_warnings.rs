//! Warnings about the ports of all containers of a pod or pod template.

use std::collections::HashMap;

use api_machinery::quote::quoted;
use api_machinery::{Path, Value, object};

use crate::at::At;
use crate::cells;
use crate::list::core_pod_warnings::Warnings;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

struct Port<'a> {
    path: Path,
    value: &'a Value,
}

impl<'a> Port<'a> {
    fn text(&self, field: &str) -> &'a str {
        object::str_at(self.value, field)
    }
    fn number(&self, field: &str) -> i64 {
        cells::int(self.value, field)
    }
    /// As Go prints the struct.
    fn shown(&self) -> String {
        format!(
            "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
            self.text("name"),
            self.number("hostPort"),
            self.number("containerPort"),
            self.text("protocol"),
            self.text("hostIP")
        )
    }
    /// What kind of definition this is beside another one of the same number and protocol, if they get into each
    /// other's way.
    fn beside(&self, other: &Self) -> Option<&'static str> {
        let (ip, other_ip) = (self.text("hostIP"), other.text("hostIP"));
        match (self.number("hostPort"), other.number("hostPort")) {
            (own, others) if own == others && ip == other_ip => Some("duplicate"),
            (0, _) | (_, 0) => Some("overlapping"),
            (own, others) if own == others && ip.is_empty() != other_ip.is_empty() => Some("dangerously ambiguous"),
            _ => None,
        }
    }
}

pub(crate) fn warn(spec: &At<'_>, warnings: &mut Warnings) {
    let ports = all(spec);
    warn_of_numbers(&ports, warnings);
    warn_of_names(&ports, warnings);
}

fn all<'a>(spec: &At<'a>) -> Vec<Port<'a>> {
    let mut all = Vec::new();
    for list in LISTS {
        for (index, container) in cells::list(spec.value, list).iter().enumerate() {
            let ports = spec.path().child(list).index(index).child("ports");
            let numbered = cells::list(container, "ports").iter().enumerate();
            all.extend(numbered.map(|(place, value)| Port { path: ports.index(place), value }));
        }
    }
    all
}

fn warn_of_numbers(ports: &[Port<'_>], warnings: &mut Warnings) {
    let mut by_number: HashMap<(i64, &str), Vec<&Port<'_>>> = HashMap::new();
    for port in ports {
        if !port.text("hostIP").is_empty() && port.number("hostPort") == 0 {
            warnings.add(format!("{}: hostIP set without hostPort: {}", port.path, port.shown()));
        }
        let others = by_number.entry((port.number("containerPort"), port.text("protocol"))).or_default();
        for other in others.iter() {
            if !warnings.may_compare() {
                break;
            }
            if let Some(what) = port.beside(other) {
                warnings.add(format!("{}: {what} port definition with {}", port.path, other.path));
            }
        }
        others.push(port);
    }
}

fn warn_of_names(ports: &[Port<'_>], warnings: &mut Warnings) {
    let mut named: HashMap<&str, &Path> = HashMap::new();
    for port in ports.iter().filter(|port| !port.text("name").is_empty()) {
        let name = port.text("name");
        if let Some(other) = named.get(name) {
            let (path, name) = (&port.path, quoted(name));
            warnings.add(format!(
                "{path}: duplicate port name {name} with {other}, services and probes that select ports by name will \
                 use {other}"
            ));
        } else {
            named.insert(name, &port.path);
        }
    }
}
