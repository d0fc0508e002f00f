//! Amounts of resources, in the units scheduling compares: milli-CPU, bytes, counts.

use std::collections::BTreeMap;

use api_machinery::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

type Amounts = BTreeMap<String, WireQuantity>;

/// What counts for a container that asks for nothing, when nodes are compared (never when they are filtered).
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages, sorted by name; mostly none.
    pub others: Vec<(String, i64)>,
}

fn number(quantity: &WireQuantity, milli: bool) -> i64 {
    match Quantity::parse(&quantity.0) {
        Ok(parsed) if milli => parsed.milli_value(),
        Ok(parsed) => parsed.value(),
        // The server admits no malformed quantity; counting it as nothing harms nobody else.
        Err(_) => 0,
    }
}

impl Resources {
    pub fn of(amounts: Option<&Amounts>) -> Self {
        let mut out = Self::default();
        for (name, quantity) in amounts.into_iter().flatten() {
            match name.as_str() {
                "cpu" => out.milli_cpu = number(quantity, true),
                "memory" => out.memory = number(quantity, false),
                "ephemeral-storage" => out.ephemeral_storage = number(quantity, false),
                "pods" => {}
                _ => out.others.push((name.clone(), number(quantity, false))),
            }
        }
        out
    }

    /// The amount of an extended resource; 0 when there is none.
    pub fn other(&self, name: &str) -> i64 {
        self.others.iter().find(|(own, _)| own == name).map_or(0, |(_, amount)| *amount)
    }
    fn other_mut(&mut self, name: &str) -> &mut i64 {
        let index = self.others.iter().position(|(own, _)| own == name).unwrap_or_else(|| {
            self.others.push((name.to_owned(), 0));
            self.others.len() - 1
        });
        &mut self.others[index].1
    }

    pub fn add(&mut self, more: &Resources) {
        self.combine(more, |own, more| own.saturating_add(more));
    }
    pub fn subtract(&mut self, less: &Resources) {
        self.combine(less, |own, less| own.saturating_sub(less));
    }
    fn raise_to(&mut self, floor: &Resources) {
        self.combine(floor, i64::max);
    }
    fn combine(&mut self, with: &Resources, how: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = how(self.milli_cpu, with.milli_cpu);
        self.memory = how(self.memory, with.memory);
        self.ephemeral_storage = how(self.ephemeral_storage, with.ephemeral_storage);
        for (name, amount) in &with.others {
            let own = self.other_mut(name);
            *own = how(*own, *amount);
        }
    }
    fn with_defaults(mut self) -> Self {
        if self.milli_cpu == 0 {
            self.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if self.memory == 0 {
            self.memory = DEFAULT_MEMORY;
        }
        self
    }
}

/// What a pod asks of its node: its containers and sidecars together, or what starting takes when that is
/// more, and the overhead of its runtime class. Requests of the pod as a whole replace the sum.
pub(crate) fn requests(spec: &PodSpec, defaults: bool) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of_container(container, defaults));
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut own = of_container(container, defaults);
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&own);
            sidecars.add(&own);
            own = sidecars.clone();
        } else {
            own.add(&sidecars);
        }
        starting.raise_to(&own);
    }
    total.raise_to(&starting);
    if let Some(whole) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        replace(&mut total, whole);
    }
    total.add(&Resources::of(spec.overhead.as_ref()));
    total
}

fn of_container(container: &Container, defaults: bool) -> Resources {
    let own = Resources::of(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
    if defaults { own.with_defaults() } else { own }
}

fn replace(total: &mut Resources, whole: &Amounts) {
    let amounts = Resources::of(Some(whole));
    if whole.contains_key("cpu") {
        total.milli_cpu = amounts.milli_cpu;
    }
    if whole.contains_key("memory") {
        total.memory = amounts.memory;
    }
    for (name, amount) in amounts.others.iter().filter(|(name, _)| name.starts_with("hugepages-")) {
        *total.other_mut(name) = *amount;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_count_what_runs_together() {
        let table = [
            (
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "1"}}}]}),
                (1100, 1 << 20),
            ),
            (
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}],
                "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "2"}}}]}),
                (2000, 0),
            ),
            (
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}],
                "initContainers": [
                    {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "300m"}}},
                    {"name": "i", "resources": {"requests": {"cpu": "200m"}}}]}),
                (500, 0),
            ),
            (
                json!({"containers": [{"name": "a"}], "overhead": {"memory": "5"},
                "resources": {"requests": {"cpu": "3"}}}),
                (3000, 5),
            ),
        ];
        for (spec, (cpu, memory)) in table {
            let text = spec.to_string();
            let spec: PodSpec = serde_json::from_value(spec).expect("a pod spec");
            let got = requests(&spec, false);
            assert_eq!((got.milli_cpu, got.memory), (cpu, memory), "{text}");
        }
    }
}
