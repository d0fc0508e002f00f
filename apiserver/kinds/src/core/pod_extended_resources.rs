//! `status.extendedResourceClaimStatus`: the claim that was made for what containers ask for by the names of extended
//! resources.

use std::collections::{HashMap, HashSet};

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::cells;

const NO_CONTAINER: &str = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
const NO_REQUEST: &str = "must match the extended resource name of an entry in \
                          spec.initContainers.resources.requests or spec.containers.resources.requests";

pub(crate) fn validate(status: &At<'_>, spec: &Value, errors: &mut ErrorList) {
    if !status.present() {
        return;
    }
    let containers: HashMap<&str, &Value> = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| cells::list(spec, list))
        .map(|container| (object::str_at(container, "name"), container))
        .collect();
    let mappings = status.field("requestMappings");
    if mappings.is_empty() {
        mappings.required(errors, "at least one request mapping is required");
    }
    let mut seen = HashSet::new();
    for mapping in mappings.items() {
        validate_mapping(&mapping, &containers, errors);
        // Upstream names neither list nor item.
        let request = mapping.field("requestName");
        status.field("requestName").with(request.value).format(errors, names::dns1123_label);
        let fields = ["containerName", "resourceName", "requestName"];
        if !seen.insert(fields.map(|field| object::str_at(mapping.value, field))) {
            fields.iter().for_each(|field| mapping.field(field).duplicate(errors));
        }
    }
    let claim = status.field("resourceClaimName");
    if claim.need(errors) {
        claim.format(errors, names::dns1123_subdomain);
    }
}

/// Of a container that there is, and something it asks for.
fn validate_mapping(mapping: &At<'_>, containers: &HashMap<&str, &Value>, errors: &mut ErrorList) {
    let (container, resource) = (mapping.field("containerName"), mapping.field("resourceName"));
    match containers.get(container.str()) {
        None => container.invalid(errors, NO_CONTAINER),
        Some(found) if child(found, "resources.requests").get(resource.str()).is_none() => {
            resource.invalid(errors, NO_REQUEST);
        }
        Some(_) => {}
    }
}
