//! Validation of the ports of containers.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::formats;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(crate) fn validate(ports: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for port in ports.items() {
        let name = port.field("name");
        let text = object::str_at(port.value, "name");
        name.format_if_set(errors, names::port_name);
        if !text.is_empty() && names::port_name(text).is_empty() && !seen.insert(text) {
            name.duplicate(errors);
        }
        let (number, host) = (port.field("containerPort"), port.field("hostPort"));
        if number.int().unwrap_or(0) == 0 {
            number.required(errors, "");
        } else {
            formats::port(&number, errors);
        }
        if host.int().unwrap_or(0) != 0 {
            formats::port(&host, errors);
        }
        port.field("protocol").need_one_of(errors, &PROTOCOLS);
    }
}

/// No two containers of a pod may take one port of the host. `list` is where their paths begin.
pub(crate) fn validate_conflicts(list: &At<'_>, containers: &[Value], errors: &mut ErrorList) {
    let mut taken = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let ports = child(container, "ports").as_array().map_or(&[][..], Vec::as_slice);
        for (place, port) in ports.iter().enumerate() {
            let number = child(port, "hostPort").as_i64().unwrap_or(0);
            if number == 0 {
                continue;
            }
            let shown = format!("{}/{}/{number}", object::str_at(port, "protocol"), object::str_at(port, "hostIP"));
            if taken.contains(&shown) {
                let path = list.path().index(index).child("ports").index(place).child("hostPort");
                errors.duplicate(&path, &Value::from(shown));
            } else {
                taken.insert(shown);
            }
        }
    }
}

/// In the host's network a port is what it is. A template may leave it out.
pub(crate) fn validate_in_host_network(spec: &At<'_>, is_pod: bool, errors: &mut ErrorList) {
    for container in spec.field("containers").items() {
        for port in container.field("ports").items() {
            let (number, host) = (port.field("containerPort"), port.field("hostPort"));
            let (number, asked) = (number.int().unwrap_or(0), host.int().unwrap_or(0));
            if (is_pod || asked != 0) && asked != number {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&host.path(), &Value::from(asked), detail);
            }
        }
    }
}
