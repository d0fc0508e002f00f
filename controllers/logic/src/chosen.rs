//! Which controllers run: by upstream's names, and by the rules of its `--controllers`.

use std::collections::BTreeSet;

/// One that can be chosen.
struct Choice {
    /// As `kube-controller-manager` calls it, and its older name; the scheduler, which is a component of its own there.
    name: &'static str,
    alias: &'static str,
    /// Of our controllers those whose queues have these names.
    queues: &'static [&'static str],
}

const fn choice(name: &'static str, alias: &'static str, queues: &'static [&'static str]) -> Choice {
    Choice { name, alias, queues }
}

/// Everything that runs by default.
const ALL: [Choice; 21] = [
    choice("bootstrap-signer-controller", "bootstrapsigner", &["bootstrap_signer_queue"]),
    choice("certificatesigningrequest-approving-controller", "csrapproving", &["certificate_approving"]),
    choice("certificatesigningrequest-cleaner-controller", "csrcleaner", &["csrcleaner"]),
    choice("certificatesigningrequest-signing-controller", "csrsigning", &["csrsigning"]),
    choice("clusterrole-aggregation-controller", "clusterrole-aggregation", &["ClusterRoleAggregator"]),
    choice("deployment-controller", "deployment", &["deployment"]),
    choice("disruption-controller", "disruption", &["disruption"]),
    choice("endpoints-controller", "endpoint", &["endpoint"]),
    choice("endpointslice-controller", "endpointslice", &["endpoint_slice"]),
    choice("garbage-collector-controller", "garbagecollector", &["garbage_collector_attempt_to_delete"]),
    choice("namespace-controller", "namespace", &["namespace"]),
    choice("node-ipam-controller", "nodeipam", &["node_ipam_controller"]),
    choice("node-lifecycle-controller", "nodelifecycle", &["node_lifecycle_controller", "node_eviction"]),
    choice("pod-garbage-collector-controller", "podgc", &["pod_gc"]),
    choice("replicaset-controller", "replicaset", &["replicaset"]),
    choice("resourcequota-controller", "resourcequota", &["resourcequota"]),
    choice("root-ca-certificate-publisher-controller", "root-ca-cert-publisher", &["root_ca_cert_publisher"]),
    choice("serviceaccount-controller", "serviceaccount", &["serviceaccount"]),
    choice("taint-eviction-controller", "taint-eviction-controller", &["taint_eviction_controller"]),
    choice("token-cleaner-controller", "tokencleaner", &["token_cleaner"]),
    choice(SCHEDULER, SCHEDULER, &[]),
];

const SCHEDULER: &str = "kube-scheduler";

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen(BTreeSet<&'static str>);

impl Default for Chosen {
    fn default() -> Self {
        Self(ALL.iter().map(|choice| choice.name).collect())
    }
}

impl Chosen {
    /// `*` is all, `NAME` that one, `-NAME` all but that one; the first word about one decides. Without `*` only those
    /// that are named run.
    ///
    /// # Errors
    /// A sentence about a name that nothing here has.
    pub fn parse(list: &[String]) -> Result<Self, String> {
        let (mut chosen, mut decided, mut star) = (BTreeSet::new(), BTreeSet::new(), false);
        for word in list.iter().map(|word| word.trim()).filter(|word| !word.is_empty()) {
            if word == "*" {
                star = true;
                continue;
            }
            let (wanted, name) = word.strip_prefix('-').map_or((true, word), |name| (false, name));
            let found = ALL.iter().find(|choice| choice.name == name || choice.alias == name);
            let name = found.ok_or_else(|| unknown(name))?.name;
            if decided.insert(name) && wanted {
                chosen.insert(name);
            }
        }
        if star {
            chosen.extend(ALL.iter().map(|choice| choice.name).filter(|name| !decided.contains(name)));
        }
        Ok(Self(chosen))
    }

    /// Whether the controller whose queue has this name runs.
    pub fn runs(&self, queue: &str) -> bool {
        ALL.iter().any(|choice| choice.queues.contains(&queue) && self.0.contains(choice.name))
    }

    pub fn runs_nothing(&self) -> bool {
        self.0.is_empty()
    }

    pub fn runs_scheduler(&self) -> bool {
        self.0.contains(SCHEDULER)
    }

    /// Whether any but the scheduler runs.
    pub fn runs_controllers(&self) -> bool {
        self.0.iter().any(|name| *name != SCHEDULER)
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = ALL.iter().map(|choice| choice.name).collect();
    format!("{name:?} is not in the list of known controllers: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Controller, Settings, garbage_collector};

    fn parse(list: &str) -> Result<Chosen, String> {
        Chosen::parse(&list.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_controller_can_be_chosen_once() {
        let all = crate::all(&Settings { root_ca_pem: String::new() });
        let garbage = garbage_collector::GarbageCollector.name();
        let mut queues: Vec<&str> = all.iter().map(|controller| controller.name()).chain([garbage]).collect();
        let mut known: Vec<&str> = ALL.iter().flat_map(|choice| choice.queues).copied().collect();
        queues.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, queues);
        assert!(queues.iter().all(|queue| Chosen::default().runs(queue)));
    }

    #[test]
    fn the_first_word_about_one_decides() {
        let of = |list| {
            let chosen = parse(list).expect("known names");
            (
                chosen.runs("deployment"),
                chosen.runs("node_eviction"),
                chosen.runs_controllers(),
                chosen.runs_scheduler(),
            )
        };
        assert_eq!(of("*"), (true, true, true, true));
        assert_eq!(of(""), (false, false, false, false));
        assert!(
            ["", "-deployment", "kube-scheduler"].map(|list| parse(list).expect("known").runs_nothing())
                == [true, true, false]
        );
        assert_eq!(of("*,-deployment-controller, -kube-scheduler"), (false, true, true, false));
        assert_eq!(of("-nodelifecycle,*,node-lifecycle-controller"), (true, false, true, true));
        assert_eq!(of("deployment"), (true, false, true, false));
        assert_eq!(of("kube-scheduler"), (false, false, false, true));
        assert_eq!(parse("*"), Ok(Chosen::default()));
    }

    #[test]
    fn a_name_that_nothing_has_is_told() {
        let refused = parse("*,-deploymentcontroller").expect_err("no such name");
        assert!(
            refused.starts_with(r#""deploymentcontroller" is not in the list of known controllers: boot"#),
            "{refused}"
        );
    }
}
