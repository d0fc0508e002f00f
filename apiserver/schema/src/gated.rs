//! Fields whose feature gates are off: they are dropped as if they had not been said, but stay where they have been
//! stored.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use api_machinery::Value;

use crate::build::{ids, leading, lines, message};
use crate::{FeatureGates, Shape, Type, TypeId, facts};

/// What is below one type, as far as something in it may have to be dropped.
#[derive(Debug)]
pub(crate) struct Gated {
    /// By field: the gate of it, which is off.
    off: BTreeMap<&'static str, &'static str>,
    below: BTreeMap<String, Below>,
}

#[derive(Debug)]
struct Below {
    gated: Gated,
    /// It is in every value of a map, whose keys are no fields.
    in_map: bool,
    /// It goes with its last field.
    goes_empty: bool,
}

/// Types of which nothing stays when a field that was dropped was all there was.
const GO_EMPTY: [&str; 1] = ["core.v1.Lifecycle"];

/// Of each kind that has any.
pub(crate) type GatedKinds = HashMap<TypeId, Gated>;

/// The fields of types, by the name of the type, with a gate that is off.
type Fields = HashMap<&'static str, Vec<(&'static str, &'static str)>>;

pub(crate) fn of_kinds(types: &[Type], gates: &FeatureGates) -> GatedKinds {
    let mut fields = Fields::new();
    for line in lines(facts::GATED_FIELDS).filter(|line| !gates.enabled(line.text(2))) {
        fields.entry(line.text(0)).or_default().push((line.text(1), line.text(2)));
    }
    let reach = Reach::new(types, fields);
    let kinds = ids(types).filter(|id| !types[id.0 as usize].gvks.is_empty());
    kinds.filter(|id| reach.leading.contains(id)).map(|id| (id, reach.gated(id, &mut Vec::new()))).collect()
}

struct Reach<'a> {
    types: &'a [Type],
    fields: Fields,
    /// Types that have such a field, or lead to one.
    leading: HashSet<TypeId>,
}

impl<'a> Reach<'a> {
    fn new(types: &'a [Type], fields: Fields) -> Self {
        let reach = Self { types, fields, leading: HashSet::new() };
        let leading = leading(types, |id| reach.off(id).next().is_some());
        Self { leading, ..reach }
    }

    /// Its own and those of the types that are inlined in it.
    fn off(&self, id: TypeId) -> impl Iterator<Item = &(&'static str, &'static str)> {
        let own = &self.types[id.0 as usize];
        let inlined = own.inlined.iter().map(|(part, _)| &self.types[part.0 as usize]);
        std::iter::once(own).chain(inlined).filter_map(|one| self.fields.get(one.name.as_str())).flatten()
    }

    /// `above` are the types that this one is in: none is entered twice.
    fn gated(&self, id: TypeId, above: &mut Vec<TypeId>) -> Gated {
        let mut gated = Gated { off: self.off(id).copied().collect(), below: BTreeMap::new() };
        above.push(id);
        for field in &self.types[id.0 as usize].fields {
            let Some(part) = message(&field.shape).filter(|part| self.leading.contains(part) && !above.contains(part))
            else {
                continue;
            };
            let in_map = matches!(field.shape, Shape::Map(_));
            let goes_empty = GO_EMPTY.contains(&self.types[part.0 as usize].name.as_str());
            gated.below.insert(field.json.clone(), Below { gated: self.gated(part, above), in_map, goes_empty });
        }
        above.pop();
        gated
    }
}

impl Gated {
    /// Removes from `object` what is switched off, but for gates whose fields `old` has somewhere.
    pub(crate) fn drop_from(&self, object: &mut Value, old: &Value) {
        let mut said = BTreeSet::new();
        self.find(object, &mut said);
        if !said.is_empty() {
            let mut kept = BTreeSet::new();
            self.find(old, &mut kept);
            self.remove(object, &kept);
        }
    }

    /// The gates of fields that `value` has.
    fn find(&self, value: &Value, gates: &mut BTreeSet<&'static str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.find(item, gates)),
            Value::Object(map) => {
                let said = self.off.iter().filter(|(field, _)| map.get(**field).is_some_and(|value| !value.is_null()));
                gates.extend(said.map(|(_, gate)| *gate));
                for (field, Below { gated, in_map, .. }) in &self.below {
                    match map.get(field.as_str()) {
                        Some(Value::Object(values)) if *in_map => {
                            values.values().for_each(|value| gated.find(value, gates));
                        }
                        Some(part) => gated.find(part, gates),
                        None => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn remove(&self, value: &mut Value, kept: &BTreeSet<&'static str>) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.remove(item, kept)),
            Value::Object(map) => {
                for (field, _) in self.off.iter().filter(|(_, gate)| !kept.contains(*gate)) {
                    map.remove(*field);
                }
                for (field, below) in &self.below {
                    let gated = &below.gated;
                    match map.get_mut(field.as_str()) {
                        Some(Value::Object(values)) if below.in_map => {
                            values.values_mut().for_each(|value| gated.remove(value, kept));
                        }
                        Some(part) if below.goes_empty => {
                            let had_none = is_without_fields(part);
                            gated.remove(part, kept);
                            if !had_none && is_without_fields(part) {
                                map.remove(field.as_str());
                            }
                        }
                        Some(part) => gated.remove(part, kept),
                        None => {}
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_without_fields(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.values().all(Value::is_null))
}

#[cfg(test)]
mod tests {
    use api_machinery::Value;
    use serde_json::json;

    use crate::Schema;

    fn dropped(gates: &str, path: (&str, &str, &str), mut object: Value, old: &Value) -> Value {
        let schema = Schema::serving("", gates).expect("gates");
        schema.drop_disabled(schema.resource(path.0, path.1, path.2).expect("served"), &mut object, old);
        object
    }

    #[test]
    fn what_is_stored_keeps_its_gate_open() {
        const SCALERS: (&str, &str, &str) = ("autoscaling", "v2", "horizontalpodautoscalers");
        const OFF: &str = "HPAConfigurableTolerance=false";
        let with = |up: Value, down: Value| json!({"spec": {"behavior": {"scaleUp": up, "scaleDown": down}}});
        let (said, bare) = (json!({"tolerance": "0.1", "policies": []}), json!({"policies": []}));
        let new = with(bare.clone(), said.clone());
        assert_eq!(dropped("", SCALERS, new.clone(), &Value::Null), new);
        assert_eq!(dropped(OFF, SCALERS, new.clone(), &Value::Null), with(bare.clone(), bare.clone()));
        assert_eq!(
            dropped(OFF, SCALERS, new.clone(), &with(bare.clone(), bare.clone())),
            with(bare.clone(), bare.clone())
        );
        // Somewhere else in the object: it is in use.
        assert_eq!(dropped(OFF, SCALERS, new.clone(), &with(said, bare)), new);
    }

    #[test]
    fn keys_of_maps_are_no_fields() {
        const SLICES: (&str, &str, &str) = ("resource.k8s.io", "v1", "resourceslices");
        let with = |attribute: Value| json!({"spec": {"devices": [{"name": "d", "attributes": {"bools": attribute, "other": {"bool": true}}}]}});
        let new = with(json!({"bools": [true], "bool": false}));
        assert_eq!(dropped("", SLICES, new, &Value::Null), with(json!({"bool": false})));
        // An empty list has been said, too.
        let new = with(json!({"bools": [], "bool": false}));
        assert_eq!(dropped("", SLICES, new, &Value::Null), with(json!({"bool": false})));
    }

    #[test]
    fn pods_wherever_they_are_described() {
        let spec =
            json!({"containers": [{"name": "c", "lifecycle": {"stopSignal": "SIGUSR1"}}], "schedulingGroup": {}});
        let left = json!({"containers": [{"name": "c"}]});
        for (path, within) in [
            (("", "v1", "pods"), "/spec"),
            (("", "v1", "podtemplates"), "/template/spec"),
            (("apps", "v1", "deployments"), "/spec/template/spec"),
            (("batch", "v1", "cronjobs"), "/spec/jobTemplate/spec/template/spec"),
        ] {
            let wrap = |spec: &Value| {
                within
                    .split('/')
                    .skip(1)
                    .collect::<Vec<_>>()
                    .iter()
                    .rev()
                    .fold(spec.clone(), |inner, key| Value::from_iter([((*key).to_owned(), inner)]))
            };
            assert_eq!(dropped("", path, wrap(&spec), &Value::Null), wrap(&left), "{path:?}");
        }
    }
}
