//! ResourcePoolStatusRequest: a question about the devices of a driver's pools, answered once.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, NOT_NEGATIVE, child};
use crate::list::resource_immutable::means_the_same;
use crate::list::resource_resourceslice::validate_pool_name;
use crate::{Kind, cells, conditions};

pub(crate) struct ResourcePoolStatusRequest;

const MAX_POOLS: usize = 1000;
const MAX_LIMIT: i64 = 1000;
const DEFAULT_LIMIT: i64 = 100;
const MAX_CONDITIONS: usize = 10;
/// Bytes of what was found wrong with a pool.
const MAX_PROBLEM: usize = 256;
const DEVICES: [&str; 4] = ["totalDevices", "availableDevices", "allocatedDevices", "unavailableDevices"];

impl Kind for ResourcePoolStatusRequest {
    fn resource(&self) -> GroupResource {
        GroupResource::new("resource.k8s.io", "resourcepoolstatusrequests")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "resource.k8s.io/v1alpha3", "kind": "ResourcePoolStatusRequest",
               "metadata": {"name": "x"}, "spec": {"driver": "d.example.com", "poolName": "p", "limit": 10}})
    }
    fn default(&self, object: &mut Value) {
        let spec = object.get_mut("spec").filter(|spec| spec.is_object());
        if let Some(spec) = spec.filter(|spec| child(spec, "limit").is_null()) {
            spec["limit"] = DEFAULT_LIMIT.into();
        }
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if !crate::meta::is_new(object) {
            return;
        }
        let root = At::root(object);
        let spec = root.field("spec");
        let (driver, pool, limit) = (spec.field("driver"), spec.field("poolName"), spec.field("limit"));
        if driver.need(errors) {
            validate_driver(&driver, errors);
        }
        if pool.present() {
            validate_pool_name(&pool, errors);
        }
        if limit.int().is_some_and(|limit| limit > MAX_LIMIT) {
            limit.invalid(errors, &format!("must be less than or equal to {MAX_LIMIT}"));
        }
        limit.at_least(errors, 1, "must be greater than or equal to 1");
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        if !means_the_same(child(object, "spec"), child(old, "spec")) {
            errors.invalid_omitted(&At::root(object).field("spec").path(), IMMUTABLE);
        }
    }
    /// Whoever answers does so at once.
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (status, before) = (root.field("status"), child(old, "status"));
        if !before.is_null() {
            if !means_the_same(status.value, before) {
                errors.invalid_omitted(&status.path(), IMMUTABLE);
            }
            return;
        }
        if !status.present() {
            return;
        }
        conditions::validate(&status.field("conditions"), errors);
        status.field("poolCount").at_least(errors, 0, NOT_NEGATIVE);
        if !status.field("poolCount").present() {
            status.field("poolCount").required(errors, "");
        }
        for (field, most) in [("pools", MAX_POOLS), ("conditions", MAX_CONDITIONS)] {
            let list = status.field(field);
            if list.list().len() > most {
                list.too_many(errors, most);
            }
        }
        let pools = status.field("pools");
        pools.items().take(MAX_POOLS).for_each(|pool| validate_pool(&pool, errors));
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let mut row = vec![cells::name(object), cells::text(object, "spec.driver")];
        row.extend(counts(object).map(Value::from));
        let pools = cells::int(object, "status.poolCount");
        let complete = cells::condition(object, "Complete").filter(|_| cells::condition_true(object, "Complete"));
        let shown = cells::len(object, "status.pools");
        let state = match complete {
            Some(_) if pools > shown => format!("Complete ({shown}/{pools} pools)"),
            Some(_) => "Complete".to_owned(),
            None if cells::condition_true(object, "Failed") => "Failed".to_owned(),
            None => "Pending".to_owned(),
        };
        let since = |condition| cells::since(object::str_at(condition, "lastTransitionTime"), now);
        let completed = complete.map_or_else(|| "<none>".to_owned(), since);
        row.extend([pools.into(), state.into(), completed.into()]);
        Some(row)
    }
}

/// Devices of all pools, and pools that something is wrong with.
fn counts(object: &Value) -> [String; 5] {
    let failed = cells::condition_true(object, "Failed") && !cells::condition_true(object, "Complete");
    if child(object, "status").is_null() || failed {
        return ["-"; 5].map(str::to_owned);
    }
    let pools = cells::list(object, "status.pools");
    let [total, available, allocated, unavailable] =
        DEVICES.map(|field| pools.iter().map(|pool| cells::int(pool, field)).sum::<i64>().to_string());
    let wrong = pools.iter().filter(|pool| !child(pool, "validationError").is_null()).count();
    [total, available, allocated, unavailable, wrong.to_string()]
}

/// Upper case is as good as lower.
fn validate_driver(driver: &At<'_>, errors: &mut ErrorList) {
    for message in names::dns1123_subdomain(&driver.str().to_lowercase()) {
        driver.invalid(errors, &message);
    }
}

fn validate_pool(pool: &At<'_>, errors: &mut ErrorList) {
    let driver = pool.field("driver");
    if driver.need(errors) {
        validate_driver(&driver, errors);
    }
    validate_pool_name(&pool.field("poolName"), errors);
    pool.field("generation").at_least(errors, 0, NOT_NEGATIVE);
    pool.field("resourceSliceCount").at_least(errors, 1, "must be greater than or equal to 1");
    DEVICES.iter().for_each(|field| pool.field(field).at_least(errors, 0, NOT_NEGATIVE));
    let (node, problem) = (pool.field("nodeName"), pool.field("validationError"));
    if node.present() {
        node.format(errors, names::dns1123_subdomain);
    }
    if problem.str().len() > MAX_PROBLEM {
        problem.too_long(errors, MAX_PROBLEM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers() {
        let kind = ResourcePoolStatusRequest;
        let told = |check: &dyn Fn(&mut ErrorList)| {
            let mut errors = ErrorList::new();
            check(&mut errors);
            errors.causes().iter().map(|cause| cause.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(told(&|errors| kind.validate(&kind.sample(), errors)), [""; 0]);
        let mut little = json!({"spec": {"driver": "d"}});
        kind.default(&mut little);
        assert_eq!(little["spec"]["limit"], 100);
        let asked = json!({"spec": {"poolName": "/", "limit": 1001}});
        let found = told(&|errors| kind.validate(&asked, errors));
        assert_eq!(found, ["spec.driver", "spec.poolName", "spec.poolName", "spec.limit"]);
        let pool = |devices: i64| json!({"driver": "d", "poolName": "p", "generation": 1, "totalDevices": devices});
        let answer = |devices: i64| json!({"status": {"poolCount": 2, "pools": [pool(devices)]}});
        assert_eq!(told(&|errors| kind.validate_status_update(&answer(3), &json!({}), errors)), [""; 0]);
        let found = told(&|errors| kind.validate_status_update(&answer(-1), &json!({}), errors));
        assert_eq!(found, ["status.pools[0].totalDevices"]);
        let found = told(&|errors| kind.validate_status_update(&answer(4), &answer(3), errors));
        assert_eq!(found, ["status"]);
        assert_eq!(counts(&answer(3)), ["3", "0", "0", "0", "0"]);
        assert_eq!(counts(&json!({})), ["-"; 5]);
    }
}
