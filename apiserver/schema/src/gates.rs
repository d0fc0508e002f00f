//! Which features are on: upstream's `--feature-gates`.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::{Line, lines};
use crate::facts;

/// Gates that this program looks at when it serves. What fields they have is in `facts/gatedfields.tsv`.
pub mod gate {
    pub const API_RESPONSE_COMPRESSION: &str = "APIResponseCompression";
    pub const COMPONENT_FLAGZ: &str = "ComponentFlagz";
    pub const COMPONENT_STATUSZ: &str = "ComponentStatusz";
    pub const OPENAPI_ENUMS: &str = "OpenAPIEnums";
    pub const POD_TOPOLOGY_LABELS_ADMISSION: &str = "PodTopologyLabelsAdmission";
    pub const STORAGE_VERSION_HASH: &str = "StorageVersionHash";
    pub const WATCH_LIST: &str = "WatchList";
}

/// Gates that may be set to what is not their default because code asks for them.
const ASKED_FOR: [&str; 7] = [
    gate::API_RESPONSE_COMPRESSION,
    gate::COMPONENT_FLAGZ,
    gate::COMPONENT_STATUSZ,
    gate::OPENAPI_ENUMS,
    gate::POD_TOPOLOGY_LABELS_ADMISSION,
    gate::STORAGE_VERSION_HASH,
    gate::WATCH_LIST,
];
const ALL_ALPHA: &str = "AllAlpha";
const ALL_BETA: &str = "AllBeta";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
    Ga,
    Deprecated,
}

impl Stage {
    fn of(text: &str) -> Self {
        match text {
            "Alpha" => Self::Alpha,
            "Beta" => Self::Beta,
            "GA" => Self::Ga,
            "Deprecated" => Self::Deprecated,
            other => panic!("facts/featuregates.tsv: stage {other}"),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::Ga => "",
            Self::Deprecated => "DEPRECATED",
        }
    }
}

/// One gate, as the facts have it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: &'static str,
    by_default: bool,
    stage: Stage,
    locked: bool,
    depends: Vec<&'static str>,
    /// Nothing that a control plane answers depends on it: whose business it is.
    elsewhere: Option<Elsewhere>,
}

/// Who looks at a gate, where that is none of upstream's control plane for what clients can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Elsewhere {
    Node,
    Cloud,
    Go,
}

impl Elsewhere {
    fn of(text: &str) -> Self {
        match text {
            "node" => Self::Node,
            "cloud" => Self::Cloud,
            "go" => Self::Go,
            other => panic!("facts/featuregates.tsv: where {other}"),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Node => "a kubelet or kube-proxy reads it, set it there",
            Self::Cloud => "a cloud-controller-manager reads it, set it there",
            Self::Go => "it is about how upstream's programs work inside",
        }
    }
}

/// What comes of what somebody wants of a gate.
enum Outcome {
    Set(bool),
    /// Its stage was set as a whole, and only its default is built.
    Kept,
    Refused(String),
}

impl Known {
    fn read(line: &Line<'static>) -> Self {
        Self {
            name: line.text(0),
            by_default: line.text(1) == "on",
            stage: Stage::of(line.text(2)),
            locked: line.get(3).is_some(),
            depends: line.get(4).map(|names| names.split(',').collect()).unwrap_or_default(),
            elsewhere: line.get(5).map(Elsewhere::of),
        }
    }

    /// The gate that sets all of its stage.
    fn all_of_stage(&self) -> Option<&'static str> {
        let all = match self.stage {
            Stage::Alpha => ALL_ALPHA,
            Stage::Beta => ALL_BETA,
            Stage::Ga | Stage::Deprecated => return None,
        };
        Some(all).filter(|all| *all != self.name)
    }

    /// `None`: it stays as it is by default.
    fn outcome(&self, wanted: &BTreeMap<&str, bool>, switchable: &BTreeSet<&str>) -> Option<Outcome> {
        let (name, by_default) = (self.name, self.by_default);
        let built = |on: bool| on == by_default || self.elsewhere.is_some() || switchable.contains(name);
        if let Some(on) = wanted.get(name).copied() {
            return Some(if self.locked && on != by_default {
                Outcome::Refused(format!("cannot set feature gate {name} to {on}, feature is locked to {by_default}"))
            } else if !built(on) {
                Outcome::Refused(format!("cannot set feature gate {name} to {on}: only {by_default} is implemented"))
            } else {
                Outcome::Set(on)
            });
        }
        let on = *wanted.get(self.all_of_stage()?)?;
        (!self.locked).then(|| if built(on) { Outcome::Set(on) } else { Outcome::Kept })
    }

    /// Upstream's word on setting what will be gone, and ours on what changes nothing here.
    fn warnings(&self, on: bool) -> Vec<String> {
        let kind = match self.stage {
            Stage::Ga => Some("GA"),
            Stage::Deprecated => Some("deprecated"),
            Stage::Alpha | Stage::Beta => None,
        };
        let name = self.name;
        let gone = kind
            .map(|kind| format!("Setting {kind} feature gate {name}={on}. It will be removed in a future release."));
        let elsewhere = self.elsewhere.filter(|_| on != self.by_default);
        let idle =
            elsewhere.map(|of| format!("feature gate {name}={on} changes nothing in this program: {}", of.label()));
        gone.into_iter().chain(idle).collect()
    }
}

/// Upstream's gates with what each is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    gates: BTreeMap<&'static str, (Known, bool)>,
    /// What whoever set them should know.
    pub warnings: Vec<String>,
}

impl Default for FeatureGates {
    fn default() -> Self {
        let known = lines(facts::FEATURE_GATES).map(|line| Known::read(&line));
        let gates = known.map(|one| (one.name, (one.clone(), one.by_default))).collect();
        Self { gates, warnings: Vec::new() }
    }
}

/// Gates whose other side is built here too: code asks for them, or fields or resources are theirs.
fn switchable() -> BTreeSet<&'static str> {
    let of_fields = lines(facts::GATED_FIELDS).filter(|line| line.get(3).is_some()).map(|line| line.text(2));
    let of_resources = lines(facts::OFF).filter_map(|line| line.get(12));
    ASKED_FOR.into_iter().chain([ALL_ALPHA, ALL_BETA]).chain(of_fields).chain(of_resources).collect()
}

impl FeatureGates {
    /// Reads `AllBeta=false,kube:WatchList=true`; of what is set twice the last counts.
    ///
    /// # Errors
    /// Upstream's: for what is no gate, no truth value, locked, or on while something that it needs is off. Beyond
    /// upstream, a gate cannot be set to what is not its default where nothing is built for that.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut wanted = BTreeMap::new();
        for item in items(text) {
            let item = match item.split_once(':') {
                Some(("kube", rest)) => rest,
                Some((component, _)) => return Err(format!("component not registered: {component}")),
                None => item,
            };
            let (name, value) = item.split_once('=').ok_or_else(|| format!("missing bool value for {item}"))?;
            wanted.insert(name.trim(), truth(name.trim(), value.trim())?);
        }
        let mut gates = Self::default();
        gates.set(&wanted)?;
        let unmet = gates.unmet();
        if unmet.is_empty() { Ok(gates) } else { Err(aggregate(&unmet)) }
    }

    fn set(&mut self, wanted: &BTreeMap<&str, bool>) -> Result<(), String> {
        if let Some(name) = wanted.keys().find(|name| !self.gates.contains_key(**name)) {
            return Err(format!("unrecognized feature gate: {name}"));
        }
        let switchable = switchable();
        let (mut refused, mut kept) = (Vec::new(), Vec::new());
        for (name, (known, on)) in &mut self.gates {
            match known.outcome(wanted, &switchable) {
                None => {}
                Some(Outcome::Kept) => kept.push(*name),
                Some(Outcome::Refused(why)) => refused.push(why),
                Some(Outcome::Set(to)) => {
                    *on = to;
                    if wanted.contains_key(name) {
                        self.warnings.extend(known.warnings(to));
                    }
                }
            }
        }
        if !kept.is_empty() {
            let names = kept.join(", ");
            self.warnings
                .push(format!("only their default is implemented of these feature gates, they keep it: {names}"));
        }
        if refused.is_empty() { Ok(()) } else { Err(aggregate(&refused)) }
    }

    /// What is on without what it needs.
    fn unmet(&self) -> Vec<String> {
        let on = self.gates.values().filter(|(_, on)| *on).map(|(known, _)| known);
        let unmet = on.filter_map(|known| {
            let off: Vec<&str> = known.depends.iter().copied().filter(|name| !self.enabled(name)).collect();
            let why =
                format!("{} is enabled, but depends on features that are disabled: [{}]", known.name, off.join(" "));
            (!off.is_empty()).then_some(why)
        });
        unmet.collect()
    }

    /// Whether a gate is on.
    ///
    /// # Panics
    /// For what is no gate.
    pub fn enabled(&self, name: &str) -> bool {
        self.gates.get(name).unwrap_or_else(|| panic!("facts/featuregates.tsv: no gate {name}")).1
    }

    /// Name, stage as upstream's metric labels it, and whether it is on.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        self.gates.values().map(|(known, on)| (known.name, known.stage.label(), *on))
    }
}

/// Errors as upstream joins them.
fn aggregate(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    parse_bool(value).map_err(|why| format!("invalid value of {name}={value}, err: {why}"))
}

/// What a flag of several items separates by commas.
pub(crate) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// What Go's `strconv.ParseBool` reads.
pub(crate) fn parse_bool(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::{ASKED_FOR, FeatureGates, Stage, switchable};

    #[test]
    fn what_is_not_said_is_as_upstream_has_it() {
        let gates = FeatureGates::parse("").expect("nothing");
        assert_eq!(gates, FeatureGates::default());
        assert_eq!((gates.all().count(), gates.all().filter(|(_, _, on)| *on).count()), (242, 170));
        assert!(gates.all().any(|gate| gate == ("WatchList", "BETA", true)));
        assert!(gates.all().any(|gate| gate == ("SidecarContainers", "", true)));
        // Every default stands on what it needs.
        assert_eq!(FeatureGates::default().unmet(), [""; 0]);
    }

    #[test]
    fn gates_are_set() {
        let gates = FeatureGates::parse("WatchList=false, kube:OpenAPIEnums=F,WatchList=true").expect("gates");
        assert!(gates.enabled("WatchList") && !gates.enabled("OpenAPIEnums") && gates.warnings.is_empty());
        let gates = FeatureGates::parse("InformerResourceVersion=true").expect("its default");
        assert_eq!(
            gates.warnings,
            ["Setting GA feature gate InformerResourceVersion=true. It will be removed in a future release."]
        );
    }

    #[test]
    fn what_others_read_is_said() {
        let gates = FeatureGates::parse("MemoryQoS=true,UnlockWhileProcessingFIFO=false,GracefulNodeShutdown=true")
            .expect("gates");
        assert!(gates.enabled("MemoryQoS") && !gates.enabled("UnlockWhileProcessingFIFO"));
        let said = |name: &str, why: &str| format!("feature gate {name} changes nothing in this program: {why}");
        assert_eq!(
            gates.warnings,
            [
                said("MemoryQoS=true", "a kubelet or kube-proxy reads it, set it there"),
                said("UnlockWhileProcessingFIFO=false", "it is about how upstream's programs work inside"),
            ]
        );
    }

    /// What stands below a heading of the page about the API, without its line breaks.
    fn documented(heading: &str) -> String {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
        let page = std::fs::read_to_string(page).expect("docs/api.md");
        let (_, below) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("docs/api.md: {heading}"));
        let section = below.split("\n#").next().unwrap_or(below);
        section.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// How many can be set to what they are not by default, and how; the page about the API says the same.
    #[test]
    fn sides() {
        let (mut locked, mut elsewhere, mut built, mut kept) = (0, 0, Vec::new(), Vec::new());
        let switchable = switchable();
        for (name, (known, _)) in &FeatureGates::default().gates {
            match known {
                known if known.locked => locked += 1,
                known if known.elsewhere.is_some() => elsewhere += 1,
                _ if switchable.contains(name) => built.push(*name),
                known => kept.push(known.clone()),
            }
            assert!(known.elsewhere.is_none() || !switchable.contains(name), "{name} is here and elsewhere");
        }
        println!("{locked} locked, {} built both ways, {elsewhere} of others, {} one way", built.len(), kept.len());
        assert_eq!((locked, built.len(), elsewhere, kept.len()), (76, 25, 64, 77));

        let features = documented("## Features");
        for said in [
            format!("{locked} are locked, as upstream."),
            format!("- {} do here what they do upstream", built.len()),
            format!("- {elsewhere} are taken with a warning"),
            format!("- {} stay as they are", kept.len()),
        ] {
            assert!(features.contains(&said), "docs/api.md does not say {said:?}");
        }
        assert_eq!(documented("### Gates that do what they do upstream"), format!("- {}", built.join(", ")));
        let mut lists = Vec::new();
        for (stage, title) in
            [(Stage::Ga, "GA"), (Stage::Beta, "Beta"), (Stage::Alpha, "Alpha"), (Stage::Deprecated, "Deprecated")]
        {
            for (on, default) in [(true, "on"), (false, "off")] {
                let such = kept.iter().filter(|known| known.stage == stage && known.by_default == on);
                let names: Vec<&str> = such.map(|known| known.name).collect();
                if !names.is_empty() {
                    lists.push(format!("- {title}, {default}: {}", names.join(", ")));
                }
            }
        }
        assert_eq!(documented("### Gates that keep their default"), lists.join(" "));
    }

    #[test]
    fn stages_go_together_where_they_can() {
        let gates = FeatureGates::parse("AllBeta=false,HostnameOverride=true").expect("gates");
        assert!(!gates.enabled("WatchList") && gates.enabled("HostnameOverride") && gates.enabled("SidecarContainers"));
        let [kept] = gates.warnings.as_slice() else { panic!("{:?}", gates.warnings) };
        assert!(kept.contains("APIServerIdentity, ") && !kept.contains("WatchList,"), "{kept}");
        let alpha = FeatureGates::parse("AllAlpha=true").expect("gates");
        assert!(alpha.enabled("ImageVolumeWithDigest") && alpha.enabled("MemoryQoS"), "{:?}", alpha.warnings);
    }

    #[test]
    fn refusals() {
        for (text, why) in [
            ("Nothing=true", "unrecognized feature gate: Nothing"),
            ("WatchList", "missing bool value for WatchList"),
            (
                "WatchList=maybe",
                "invalid value of WatchList=maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            ("mine:WatchList=true", "component not registered: mine"),
            (
                "SidecarContainers=false",
                "cannot set feature gate SidecarContainers to false, feature is locked to true",
            ),
            ("KMSv1=true", "cannot set feature gate KMSv1 to true: only false is implemented"),
            (
                "ResourceHealthStatus=false",
                "ResourceHealthStatusMessage is enabled, but depends on features that are disabled: [ResourceHealthStatus]",
            ),
            (
                "KMSv1=true,SidecarContainers=false",
                "[cannot set feature gate KMSv1 to true: only false is implemented, \
                 cannot set feature gate SidecarContainers to false, feature is locked to true]",
            ),
        ] {
            assert_eq!(FeatureGates::parse(text).expect_err(text), why);
        }
    }

    #[test]
    fn what_can_be_switched_is_a_gate() {
        let names: Vec<&str> = FeatureGates::default().all().map(|(name, _, _)| name).collect();
        for name in switchable().into_iter().chain(ASKED_FOR) {
            assert!(names.contains(&name), "{name}");
        }
    }
}
