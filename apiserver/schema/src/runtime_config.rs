//! Which versions and resources are served: upstream's `--runtime-config`.

use std::collections::BTreeMap;

use api_machinery::GroupVersion;

use crate::gates::{items, parse_bool};
use crate::stage::VersionStage;

/// Versions that upstream knows of and serves nothing in: switching them does nothing.
const EMPTY: [&str; 24] = [
    "admission.k8s.io/v1",
    "admission.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1beta1",
    "apiregistration.k8s.io/v1beta1",
    "apps/v1beta1",
    "apps/v1beta2",
    "authentication.k8s.io/v1alpha1",
    "authentication.k8s.io/v1beta1",
    "authorization.k8s.io/v1beta1",
    "batch/v1beta1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "flowcontrol.apiserver.k8s.io/v1beta3",
    "imagepolicy.k8s.io/v1alpha1",
    "node.k8s.io/v1alpha1",
    "node.k8s.io/v1beta1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1alpha1",
    "rbac.authorization.k8s.io/v1beta1",
    "scheduling.k8s.io/v1beta1",
    "storage.k8s.io/v1alpha1",
];
/// Keys for many versions, the most general first.
const STAGES: [&str; 4] = ["api/all", "api/ga", "api/beta", "api/alpha"];

/// What a configuration switches on or off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Of [`STAGES`].
    stages: BTreeMap<&'static str, bool>,
    /// `networking.k8s.io/v1beta1`; `v1` is the core group's.
    versions: BTreeMap<String, bool>,
    /// Version and resource.
    resources: BTreeMap<(String, String), bool>,
}

/// Which of [`STAGES`] a version is in.
fn key(stage: VersionStage) -> &'static str {
    match stage {
        VersionStage::Stable => "api/ga",
        VersionStage::Beta => "api/beta",
        VersionStage::Alpha => "api/alpha",
    }
}

/// One item of the flag that is about a version or a resource of it.
struct Item<'a> {
    key: &'a str,
    value: &'a str,
    /// Empty for the core group.
    group: &'a str,
    version: &'a str,
    resource: Option<&'a str>,
}

impl<'a> Item<'a> {
    /// `v1`, `apps/v1` or `apps/v1/deployments`.
    fn read(key: &'a str, value: &'a str) -> Result<Self, String> {
        let of = |group, version, resource| Ok(Item { key, value, group, version, resource });
        match key.split('/').collect::<Vec<_>>()[..] {
            ["v1"] | ["api", "v1"] => of("", "v1", None),
            [group, version] => of(group, version, None),
            [group, version, resource] => of(group, version, Some(resource)),
            _ => Err(format!("runtime-config invalid key {key}")),
        }
    }

    fn group_version(&self) -> String {
        GroupVersion::new(self.group, self.version).to_string()
    }

    /// What Go's `strconv.ParseBool` reads; nothing is on.
    fn on(&self) -> Result<bool, String> {
        let (key, value) = (self.key, self.value);
        match value {
            "" => Ok(true),
            value => parse_bool(value).map_err(|why| format!("invalid value of {key}: {value}, err: {why}")),
        }
    }
}

impl RuntimeConfig {
    /// Reads `networking.k8s.io/v1beta1=true,api/alpha=false,apps/v1/daemonsets=false`; a key alone is switched on, of
    /// what is said twice the last counts. `known` are the versions that can be served.
    ///
    /// # Errors
    /// Upstream's: for what is no version of its, for values that are no truth value, and for `api/all=false` alone.
    pub fn parse(text: &str, known: &[GroupVersion]) -> Result<Self, String> {
        let pairs = items(text).map(|item| item.split_once('=').unwrap_or((item, "")));
        let all: BTreeMap<&str, &str> = pairs.map(|(key, value)| (key.trim(), value.trim())).collect();
        if all.len() == 1 && all.get("api/all") == Some(&"false") {
            return Err("invalid runtime-config with only api/all=false".to_owned());
        }
        let single = all.iter().filter(|(key, _)| !STAGES.contains(key));
        let items = single.map(|(key, value)| Item::read(key, value)).collect::<Result<Vec<_>, _>>()?;
        refuse_unknown(&items, known)?;
        let mut config = Self::default();
        for stage in STAGES {
            if let Some(value) = all.get(stage) {
                config.stages.insert(stage, stage_is_on(stage, value)?);
            }
        }
        items.iter().try_for_each(|item| config.set(item))?;
        Ok(config)
    }

    fn set(&mut self, item: &Item<'_>) -> Result<(), String> {
        let on = item.on()?;
        match item.resource {
            None => drop(self.versions.insert(item.group_version(), on)),
            Some(resource) if resource == resource.to_lowercase() => {
                self.resources.insert((item.group_version(), resource.to_owned()), on);
            }
            Some(resource) => {
                return Err(format!(
                    "invalid key {}: group/version/resource and resource is always lowercase plural, not {resource:?}",
                    item.key
                ));
            }
        }
        Ok(())
    }

    /// Whether a resource is served: by default where its version is no early one. What is said of it alone goes before
    /// what is said of its version, and that before the stages.
    pub(crate) fn serves(&self, version: &GroupVersion, resource: &str) -> bool {
        let (named, stage) = (version.to_string(), VersionStage::of(&version.version));
        let of_version = self.versions.get(&named).copied();
        let of_stage = [key(stage), STAGES[0]].into_iter().find_map(|key| self.stages.get(key).copied());
        let own = self.resources.get(&(named, resource.to_owned())).copied();
        own.or(of_version).or(of_stage).unwrap_or(!stage.is_early())
    }
}

fn stage_is_on(stage: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("invalid value {stage}={other}")),
    }
}

fn refuse_unknown(items: &[Item<'_>], known: &[GroupVersion]) -> Result<(), String> {
    let empty = || EMPTY.iter().filter_map(|one| one.split_once('/'));
    let has_group =
        |item: &&Item<'_>| known.iter().any(|one| &*one.group == item.group) || empty().any(|one| one.0 == item.group);
    let has_version = |item: &&Item<'_>| {
        known.iter().any(|one| (&*one.group, &*one.version) == (item.group, item.version))
            || empty().any(|one| one == (item.group, item.version))
    };
    let mut strange: Vec<String> = items.iter().filter(|item| !has_group(item)).map(Item::group_version).collect();
    strange.sort();
    strange.dedup();
    if !strange.is_empty() {
        return Err(format!("unknown api groups {}", strange.join(",")));
    }
    match items.iter().find(|item| !has_version(item)) {
        Some(item) => Err(format!("group version {} that has not been registered", item.group_version())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{EMPTY, RuntimeConfig};
    use crate::stage::VersionStage;
    use crate::{Resource, Schema};

    fn versions(schema: &Schema, group: &str) -> Vec<String> {
        let found = schema.groups().iter().find(|one| one.name == group);
        found.map(|group| group.versions.clone()).unwrap_or_default()
    }

    #[test]
    fn what_is_switched_on_is_served() {
        let on = |text: &str| {
            let schema = Schema::serving(text, "").expect(text);
            ["networking.k8s.io", "admissionregistration.k8s.io"].map(|group| versions(&schema, group))
        };
        assert_eq!(on(""), [vec!["v1"], vec!["v1"]]);
        assert_eq!(on("networking.k8s.io/v1beta1=1")[0], ["v1", "v1beta1"]);
        assert_eq!(on("api/all=true")[1], ["v1", "v1beta1", "v1alpha1"]);
        assert_eq!(on("api/beta,networking.k8s.io/v1beta1=false"), [vec!["v1"], vec!["v1", "v1beta1"]]);
        let schema = Schema::serving("storage.k8s.io/v1beta1", "").expect("known");
        let served = schema.resource("storage.k8s.io", "v1beta1", "volumeattributesclasses").expect("it is served");
        assert_eq!(served.storage_gv.to_string(), "storage.k8s.io/v1");
        assert_eq!(&*schema.preferred(&served.storage).expect("stored").gv.version, "v1");
        for one in schema.resources() {
            assert!(one.type_id.is_some(), "{}/{} has no type", one.gv, one.plural);
        }
    }

    /// Every version that upstream serves when asked, and nothing else.
    #[test]
    fn all_that_can_be_served() {
        const GATES: &str = "ClusterTrustBundle=true,GenericWorkload=true,StorageVersionMigrator=true";
        let all = Schema::serving("api/all=true", GATES).expect("known");
        let is_early = |one: &&Resource| VersionStage::of(&one.gv.version).is_early();
        let off = |schema: &Schema| schema.resources().iter().filter(is_early).count();
        let (with, without) = (off(&all), off(&Schema::serving("api/all=true", "").expect("known")));
        println!(
            "{} resources with everything on, {with} of early versions, {without} without gates",
            all.resources().len()
        );
        assert_eq!((all.resources().len(), with, without), (94, 26, 21));
        assert_eq!(all.groups().len(), 23);
        assert_eq!(versions(&all, "resource.k8s.io"), ["v1", "v1beta2", "v1beta1", "v1alpha3"]);
        assert_eq!(versions(&all, "certificates.k8s.io"), ["v1", "v1beta1", "v1alpha1"]);
        assert_eq!(versions(&all, "coordination.k8s.io"), ["v1", "v1beta1", "v1alpha2"]);
        for one in all.resources() {
            let what = format!("{}/{}", one.gv, one.plural);
            assert!(one.type_id.is_some() && one.hub_type_id.is_some(), "{what}");
            assert!(all.hub(&one.storage).is_some(), "{what} has no version to work with");
            for sub in &one.subresources {
                assert!(sub.type_id.is_some(), "{what}/{} has no type", sub.name);
            }
            if one.has_verb("list") {
                let resource = one.group_resource();
                assert!(!all.selectable_fields(&resource).is_empty(), "{what} can be selected by nothing");
                assert!(all.print_columns(&resource).is_some(), "{what}");
                assert_eq!(all.strategy(&resource).is_some(), one.has_verb("update"), "{what}");
            }
        }
    }

    #[test]
    fn what_is_switched_off_is_gone() {
        let serving = |text: &str| Schema::serving(text, "").expect(text);
        let without = serving("apps/v1=false");
        assert_eq!(versions(&without, "apps"), [""; 0]);
        assert!(without.resource("apps", "v1", "deployments").is_none());
        assert!(without.own("apps", "v1", "deployments").is_some(), "who works with it goes on");
        let some = serving("apps/v1=false,apps/v1/deployments=true,/v1/secrets=false");
        assert!(some.resource("apps", "v1", "daemonsets").is_none() && some.resource("", "v1", "secrets").is_none());
        let deployments = some.resource("apps", "v1", "deployments").expect("served alone");
        assert!(deployments.subresource("scale").is_some());
        let none = serving("api/all=false,batch/v1=true");
        assert_eq!(none.groups().iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["batch"]);
        let early = serving("api/ga=false,api/beta=true");
        assert!(early.resource("", "v1", "pods").is_none() && versions(&early, "networking.k8s.io") == ["v1beta1"]);
        let addresses = early.resource("networking.k8s.io", "v1beta1", "ipaddresses").expect("served");
        assert_eq!(early.hub(&addresses.storage).expect("worked with").gv.to_string(), "networking.k8s.io/v1");
        let core = serving("v1=false");
        assert_eq!(core.groups()[0].name, "apiregistration.k8s.io");
    }

    #[test]
    fn refusals() {
        for (text, why) in [
            ("nothing.example/v1=true,a.example/v2", "unknown api groups a.example/v2,nothing.example/v1"),
            ("apps/v7", "group version apps/v7 that has not been registered"),
            ("api/beta=maybe", "invalid value api/beta=maybe"),
            ("api/all=false", "invalid runtime-config with only api/all=false"),
            ("apps", "runtime-config invalid key apps"),
            ("apps/v1/deployments/status", "runtime-config invalid key apps/v1/deployments/status"),
            (
                "apps/v1=maybe",
                "invalid value of apps/v1: maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "apps/v1/Deployments=false",
                "invalid key apps/v1/Deployments: group/version/resource and resource is always lowercase plural, not \
                 \"Deployments\"",
            ),
        ] {
            assert_eq!(Schema::serving(text, "").expect_err(text), why);
        }
        assert_eq!(RuntimeConfig::parse("", &[]), Ok(RuntimeConfig::default()));
        for version in EMPTY {
            let with = Schema::serving(&format!("{version}=true"), "").expect(version);
            assert_eq!(with.resources().len(), Schema::builtin().resources().len(), "{version}");
        }
    }
}
