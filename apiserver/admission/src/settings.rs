//! Which plugins a server runs.

use std::collections::{BTreeMap, BTreeSet};

use api_machinery::Value;
use api_schema::FeatureGates;

use crate::Plugin;
use crate::order::{ALL, Entry};

/// What an operator wants of admission. By default nothing but what is on by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Names of plugins to run besides those that are on by default.
    pub enable: Vec<String>,
    /// Names of plugins not to run although they are on by default.
    pub disable: Vec<String>,
    /// Configurations by name of their plugin.
    pub configuration: BTreeMap<String, Value>,
}

impl Settings {
    /// What is wrong with the names, in upstream's words.
    pub fn check(&self) -> Result<(), String> {
        let known = |name: &String| ALL.iter().any(|entry| entry.name == name);
        for (flag, names) in [("enable", &self.enable), ("disable", &self.disable)] {
            if let Some(name) = names.iter().find(|name| !known(name)) {
                return Err(format!("{flag}-admission-plugins plugin {name:?} is unknown"));
            }
        }
        let enable: BTreeSet<&str> = self.enable.iter().map(String::as_str).collect();
        let both: BTreeSet<&str> =
            self.disable.iter().map(String::as_str).filter(|name| enable.contains(name)).collect();
        if both.is_empty() {
            return Ok(());
        }
        let both = both.into_iter().collect::<Vec<_>>().join(" ");
        Err(format!("[{both}] in enable-admission-plugins and disable-admission-plugins overlapped"))
    }

    pub(crate) fn plugins(&self, gates: &FeatureGates) -> Result<Vec<Box<dyn Plugin>>, String> {
        self.check()?;
        let named = |names: &[String], entry: &Entry| names.iter().any(|name| name == entry.name);
        let wanted =
            ALL.iter().filter(|entry| named(&self.enable, entry) || (entry.on && !named(&self.disable, entry)));
        let wanted = wanted.filter(|entry| entry.gate.is_none_or(|gate| gates.enabled(gate)));
        let make = |entry: &Entry| {
            let configuration = self.configuration.get(entry.name).unwrap_or(&Value::Null);
            (entry.make)(configuration).map_err(|why| format!("couldn't init admission plugin {:?}: {why}", entry.name))
        };
        wanted.map(make).collect()
    }
}

/// What is on by default.
pub(crate) fn standard() -> Vec<Box<dyn Plugin>> {
    // Without a configuration nothing can be wrong with one.
    Settings::default().plugins(&FeatureGates::default()).expect("plugins that are on by default need no configuration")
}
