//! Which versions are served beside those that are by default: upstream's `--runtime-config`.

use std::collections::BTreeMap;

use api_machinery::GroupVersion;

/// Versions that upstream has and that no resource here is served in.
const ABSENT: [&str; 9] = [
    "certificates.k8s.io/v1beta1",
    "certificates.k8s.io/v1alpha1",
    "coordination.k8s.io/v1beta1",
    "coordination.k8s.io/v1alpha2",
    "internal.apiserver.k8s.io/v1alpha1",
    "resource.k8s.io/v1beta1",
    "resource.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1alpha2",
    "storagemigration.k8s.io/v1beta1",
];

/// What a configuration switches on or off, most general first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// `api/all`
    all: Option<bool>,
    /// `ga`, `beta`, `alpha`, of `api/beta` and so on.
    stages: BTreeMap<&'static str, bool>,
    /// `networking.k8s.io/v1beta1`
    versions: BTreeMap<String, bool>,
}

fn stage(version: &str) -> &'static str {
    if version.contains("alpha") {
        "alpha"
    } else if version.contains("beta") {
        "beta"
    } else {
        "ga"
    }
}

impl RuntimeConfig {
    /// Reads `networking.k8s.io/v1beta1=true,api/alpha=false`; a key alone is switched on. `known` are the versions that
    /// can be served.
    ///
    /// # Errors
    /// Upstream's: for what is no version of its, for values that are neither `true` nor `false`, and for `api/all=false`
    /// alone. Beyond upstream, what the control plane itself is built on cannot be switched off, and versions whose kinds
    /// are not implemented cannot be switched on.
    pub fn parse(text: &str, known: &[GroupVersion]) -> Result<Self, String> {
        let mut config = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (key, value) = item.split_once('=').unwrap_or((item, "true"));
            let on = match value {
                "" | "true" => true,
                "false" => false,
                other => return Err(format!("runtime-config invalid value: {key}={other}")),
            };
            config.set(key, on, known)?;
        }
        if config.all == Some(false) && config.stages.is_empty() && config.versions.is_empty() {
            return Err("invalid key with only api/all=false".to_owned());
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, on: bool, known: &[GroupVersion]) -> Result<(), String> {
        let fixed = || Err(format!("runtime-config cannot switch off {key}: the control plane is built on it"));
        match key {
            "api/all" if !on => return fixed(),
            "api/all" => self.all = Some(on),
            "api/ga" if !on => return fixed(),
            "api/ga" => drop(self.stages.insert("ga", on)),
            "api/beta" => drop(self.stages.insert("beta", on)),
            "api/alpha" => drop(self.stages.insert("alpha", on)),
            _ => {
                let version = key.strip_prefix("api/").filter(|version| *version == "v1").unwrap_or(key);
                if on && ABSENT.contains(&version) {
                    return Err(format!("runtime-config cannot switch on {key}: its kinds are not implemented"));
                }
                let is_known = known.iter().any(|one| one.to_string() == version);
                if !is_known && !ABSENT.contains(&version) {
                    return Err(format!("unknown api groups {version}"));
                }
                let (_, name) = version.rsplit_once('/').unwrap_or(("", version));
                if !on && stage(name) == "ga" {
                    return fixed();
                }
                self.versions.insert(version.to_owned(), on);
            }
        }
        Ok(())
    }

    /// Whether a version is served that upstream serves by default if `by_default`.
    pub(crate) fn serves(&self, version: &GroupVersion, by_default: bool) -> bool {
        let own = self.versions.get(&version.to_string());
        let of_stage = self.stages.get(stage(&version.version));
        own.or(of_stage).copied().or(self.all).unwrap_or(by_default)
    }
}

#[cfg(test)]
mod tests {
    use super::RuntimeConfig;
    use crate::Schema;

    #[test]
    fn what_is_switched_on_is_served() {
        let on = |text: &str| {
            let schema = Schema::serving(text, "").expect(text);
            let versions = |group: &str| -> Vec<String> {
                let group = schema.groups().iter().find(|one| one.name == group).expect("a group");
                group.versions.clone()
            };
            (versions("networking.k8s.io"), versions("admissionregistration.k8s.io"))
        };
        assert_eq!(on(""), (vec!["v1".to_owned()], vec!["v1".to_owned()]));
        assert_eq!(on("networking.k8s.io/v1beta1=true").0, ["v1", "v1beta1"]);
        assert_eq!(on("api/all=true").1, ["v1", "v1beta1", "v1alpha1"]);
        assert_eq!(on("api/beta,networking.k8s.io/v1beta1=false"), {
            (vec!["v1".to_owned()], vec!["v1".to_owned(), "v1beta1".to_owned()])
        });
        let schema = Schema::serving("storage.k8s.io/v1beta1", "").expect("known");
        let served = schema.resource("storage.k8s.io", "v1beta1", "volumeattributesclasses").expect("it is served");
        assert_eq!(served.storage_gv.to_string(), "storage.k8s.io/v1");
        assert_eq!(&*schema.preferred(&served.storage).expect("stored").gv.version, "v1");
        for one in schema.resources() {
            assert!(one.type_id.is_some(), "{}/{} has no type", one.gv, one.plural);
        }
    }

    #[test]
    fn refusals() {
        for (text, why) in [
            ("nothing.example/v1=true", "unknown api groups nothing.example/v1"),
            ("api/beta=maybe", "runtime-config invalid value: api/beta=maybe"),
            ("apps/v1=false", "cannot switch off apps/v1"),
            ("api/ga=false", "cannot switch off api/ga"),
            ("resource.k8s.io/v1alpha3", "cannot switch on resource.k8s.io/v1alpha3"),
        ] {
            let refused = Schema::serving(text, "").expect_err(text);
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(RuntimeConfig::parse("", &[]), Ok(RuntimeConfig::default()));
    }
}
