//! What an apply takes out of an object.

use std::collections::BTreeMap;

use api_machinery::Value;

use super::managers::{Managed, Managers};
use super::ownership::Ownership;
use super::place::Place;
use super::set::FieldSet;

impl<'a> Ownership<'a> {
    /// Takes out what the manager stated last time, states no longer, and nobody else manages.
    pub(crate) fn prune(&self, merged: Value, managers: &Managers, last: Option<&Managed>) -> Value {
        let Some(last) = last.filter(|last| !last.fields.is_empty()) else { return merged };
        let version = last.api_version.as_str();
        let (Some(place), Some(merged_then)) = (self.place(version), self.convert(&merged, self.api_version, version))
        else {
            return merged;
        };
        let walk = self.walk();
        let last_fields = walk.with_named(place, &last.fields.set());
        let pruned = walk.without(place, &merged_then, &last_fields).unwrap_or_default();
        let pruned = self.add_back_owned(&merged_then, pruned, version, managers);
        let pruned = self.add_back_dangling(place, &merged_then, &pruned, &last_fields);
        self.convert(&pruned, version, self.api_version).unwrap_or(merged)
    }

    /// With what anybody manages, in any version; the pruned version first.
    fn add_back_owned(&self, merged: &Value, mut pruned: Value, version: &str, managers: &Managers) -> Value {
        let mut by_version: BTreeMap<&str, FieldSet> = BTreeMap::new();
        for managed in managers.0.values() {
            let all = by_version.entry(&managed.api_version).or_default();
            all.absorb(managed.fields.set());
        }
        let own = by_version.remove_entry(version);
        for (other, managed) in own.into_iter().chain(by_version) {
            let converted =
                (self.place(other), self.convert(merged, version, other), self.convert(&pruned, version, other));
            let (Some(place), Some(whole), Some(less)) = converted else { continue };
            let walk = self.walk();
            let named = |set: &FieldSet| walk.with_named(place, set);
            let kept = named(&walk.fields(place, &less)).union(&named(&managed));
            let gone = named(&walk.fields(place, &whole)).difference(&kept);
            let back = walk.without(place, &whole, &gone).unwrap_or_default();
            if let Some(back) = self.convert(&back, other, version) {
                pruned = back;
            }
        }
        pruned
    }

    /// With what went and was not the manager's.
    fn add_back_dangling(&self, place: Place<'a>, merged: &Value, pruned: &Value, last: &FieldSet) -> Value {
        let walk = self.walk();
        let named = |value: &Value| walk.with_named(place, &walk.fields(place, value));
        let gone = named(merged).difference(&named(pruned)).intersection(last);
        walk.without(place, merged, &gone).unwrap_or_default()
    }
}
