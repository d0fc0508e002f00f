//! Who manages the replicas of an object, as seen through its `scale`, and back.

use api_machinery::Value;

use super::fields::Fields;
use super::managers::{Key, Managed, Managers, Operation};
use super::set::FieldSet;

/// The version of every Scale.
const SCALE: &str = "autoscaling/v1";
const REPLICAS: &str = "spec.replicas";

/// One kind's replicas.
#[derive(Clone, Copy, Debug)]
pub struct Replicas<'a> {
    /// Dotted: `spec.replicas`.
    pub path: &'a str,
    /// Of the objects that have it.
    pub api_version: &'a str,
}

impl Replicas<'_> {
    fn set(&self) -> FieldSet {
        FieldSet::of_fields([self.path])
    }

    fn is_owned_by(&self, managed: &Managed) -> bool {
        managed.api_version == self.api_version && !managed.fields.set().intersection(&self.set()).is_empty()
    }

    /// Gives the Scale of an object the managers of the object's replicas.
    pub fn to_scale(&self, object: &Value, scale: &mut Value) {
        let owners = Managers::of(object).0.into_iter().filter(|(_, managed)| self.is_owned_by(managed));
        let of_scale = |(key, managed): (Key, Managed)| {
            let fields = Fields::Set(FieldSet::of_fields([REPLICAS]));
            (in_version(key, SCALE), Managed { fields, api_version: SCALE.to_owned(), time: managed.time })
        };
        Managers(owners.map(of_scale).collect()).write(scale);
    }

    /// Gives an object whose replicas came from a Scale the managers that the Scale has: who lost the replicas
    /// there loses them here, who got them gets them.
    pub fn to_object(&self, scale: &Value, object: &mut Value) {
        let replicas = FieldSet::of_fields([REPLICAS]);
        let of_scale = Managers::of(scale).0.into_iter();
        let mut owners: Managers = Managers(
            of_scale
                .filter(|(_, managed)| !managed.fields.set().intersection(&replicas).is_empty())
                .map(|(key, managed)| (in_version(key, self.api_version), managed))
                .collect(),
        );
        let mut managers = Managers::of(object);
        managers.0.retain(|key, managed| {
            if self.is_owned_by(managed) {
                match owners.0.remove(key) {
                    Some(kept) => managed.time = kept.time,
                    None => drop(managed.fields.take(&self.set())),
                }
            }
            !managed.fields.is_empty()
        });
        for (key, managed) in owners.0 {
            let own = managers.0.entry(key).or_insert_with(|| Managed {
                fields: FieldSet::default().into(),
                api_version: self.api_version.to_owned(),
                time: None,
            });
            own.fields.add(self.set());
            own.time = managed.time;
        }
        managers.write(object);
    }
}

fn in_version(key: Key, api_version: &str) -> Key {
    let api_version = if key.operation == Operation::Apply { "" } else { api_version };
    Key { api_version: api_version.to_owned(), ..key }
}
