//! Static defaults from the schema's facts (`facts/defaults.tsv`). Defaults that depend on other
//! fields or kinds in ways the table cannot say are in the kind's file (`Kind::default`).

use api_machinery::Value;
use api_machinery::image::is_latest;
use api_schema::defaults::{Condition, Filling, Node, Rule};
use api_schema::{Field, Holder, Resource, Schema, Shape, Type, TypeId};
use serde_json::Map;

/// Fills in every default of the kind that applies, then what upstream always writes
/// ([`fill_zero_values`]). Idempotent.
pub fn apply_defaults(schema: &Schema, resource: &Resource, object: &mut Value) {
    if let Some(type_id) = resource.type_id {
        apply_type_defaults(schema, type_id, object);
    }
}

/// The same for a body that is no resource of its own (`TokenRequest`, `Scale`, ...).
pub fn apply_type_defaults(schema: &Schema, type_id: TypeId, object: &mut Value) {
    rules_of(schema, type_id, object);
    fill_zero_values(schema, type_id, object);
}

/// Writes the zero value of every field that Go never leaves out: `status: {}`, `replicas: 0`, `rules: null`.
/// To be called again after anything that may have removed one, before an object is stored. Idempotent.
pub fn fill_zero_values(schema: &Schema, type_id: TypeId, object: &mut Value) {
    let Value::Object(map) = object else { return };
    let one = schema.get(type_id);
    for field in &one.fields {
        if let Some(zero) = always_written(field)
            && map.get(&field.json).is_none_or(|value| says_nothing(field, value))
        {
            map.insert(field.json.clone(), zero);
        }
    }
    for (name, value) in map {
        if let Some(field) = one.field(name) {
            each_inside(schema, &field.shape, value, fill_zero_values);
        }
    }
}

/// Does something to every object right inside a value of this shape.
fn each_inside(schema: &Schema, shape: &Shape, value: &mut Value, act: fn(&Schema, TypeId, &mut Value)) {
    match (shape, value) {
        (Shape::Message(id), value) => act(schema, *id, value),
        (Shape::List(element), Value::Array(list)) => {
            list.iter_mut().for_each(|value| each_inside(schema, element, value, act));
        }
        (Shape::Map(element), Value::Object(map)) => {
            map.values_mut().for_each(|value| each_inside(schema, element, value, act));
        }
        (Shape::OneOf(shapes), value) => {
            if let Some(shape) = shapes.iter().find(|shape| crate::scalar::fits(shape, value)) {
                each_inside(schema, shape, value, act);
            }
        }
        _ => {}
    }
}

/// Takes away the empty lists and maps that were left for validation to see ([`Field::told_empty`]): what is stored has
/// none of them, and nobody manages them. Idempotent.
pub fn drop_told_empty(schema: &Schema, type_id: TypeId, object: &mut Value) {
    let one = schema.get(type_id);
    let Value::Object(map) = object else { return };
    if !one.tells_empty {
        return;
    }
    if map.iter().any(|(name, value)| is_told_empty(one, name, value)) {
        map.retain(|name, value| !is_told_empty(one, name, value));
    }
    for (name, value) in map {
        if let Some(field) = one.field(name) {
            each_inside(schema, &field.shape, value, drop_told_empty);
        }
    }
}

/// Whether there is anything that [`drop_told_empty`] would take away.
pub fn has_told_empty(schema: &Schema, type_id: TypeId, object: &Value) -> bool {
    let one = schema.get(type_id);
    let Value::Object(map) = object else { return false };
    one.tells_empty
        && map.iter().any(|(name, value)| {
            is_told_empty(one, name, value)
                || one.field(name).is_some_and(|field| has_inside(schema, &field.shape, value))
        })
}

fn has_inside(schema: &Schema, shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::Message(id), value) => has_told_empty(schema, *id, value),
        (Shape::List(element), Value::Array(list)) => list.iter().any(|value| has_inside(schema, element, value)),
        (Shape::Map(element), Value::Object(map)) => map.values().any(|value| has_inside(schema, element, value)),
        _ => false,
    }
}

fn is_told_empty(one: &Type, name: &str, value: &Value) -> bool {
    is_empty(value) && one.field(name).is_some_and(|field| field.told_empty)
}

/// Something that is there, and has nothing in it.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Go writes structs even with `omitempty`, and a time that is not set as `null`; what a pointer or slice is to hold as
/// `null`, and scalars, only without it. Of times the one of every object's creation alone is left out (`omitzero`).
fn always_written(field: &Field) -> Option<Value> {
    match (field.holder, &field.shape) {
        (Holder::Pointer | Holder::Collection, _) => (!field.omit_empty).then_some(Value::Null),
        (_, Shape::Message(_)) => Some(Value::Object(Map::new())),
        (_, Shape::Quantity) => Some("0".into()),
        (_, Shape::IntOrString) => Some(0.into()),
        (_, Shape::Time | Shape::MicroTime) => (field.json != "creationTimestamp").then_some(Value::Null),
        _ if field.omit_empty => None,
        (_, Shape::Bool) => Some(false.into()),
        (_, Shape::Int32 | Shape::Int64) => Some(0.into()),
        (_, Shape::String) => Some("".into()),
        _ => None,
    }
}

/// An empty list comes out of upstream's conversion as one that is not there.
fn says_nothing(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty() && field.holder == Holder::Collection && !field.told_empty,
        Value::Object(map) => map.is_empty() && field.holder == Holder::Collection && !field.told_empty,
        _ => false,
    }
}

fn rules_of(schema: &Schema, type_id: TypeId, object: &mut Value) {
    let Some(rules) = schema.defaults(type_id) else { return };
    if !object.is_object() {
        return;
    }
    let held: Vec<bool> = rules.root_conditions.iter().map(|condition| holds(condition, object)).collect();
    let walk = Walk { schema, held: &held };
    walk.node(&rules.root, Some(schema.get(type_id)), object);
}

/// Whether a value is what Go would call the zero value.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn at<'a>(base: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(base, |value, field| value.get(field)).filter(|value| !value.is_null())
}

fn holds(condition: &Condition, base: &Value) -> bool {
    match condition {
        Condition::OneOf(path, values) => at(base, path).is_some_and(|value| values.contains(value)),
        Condition::NotEmpty(path) => at(base, path).is_some_and(|value| !is_zero(value)),
        Condition::Present(path) => at(base, path).is_some(),
        // A number is set, even to zero: those that may be unset are pointers.
        Condition::Unset(path) => at(base, path).is_none_or(|value| !value.is_number() && is_zero(value)),
        Condition::LatestImage(path) => at(base, path).and_then(Value::as_str).is_some_and(is_latest),
        Condition::OnlyField(field) => {
            let mut set = base.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
            set.all(|(name, _)| name == field)
        }
    }
}

struct Walk<'a> {
    schema: &'a Schema,
    held: &'a [bool],
}

impl<'a> Walk<'a> {
    fn node(&self, node: &Node, one: Option<&'a Type>, value: &mut Value) {
        for name in &node.includes {
            if let Some(id) = self.schema.type_named(name) {
                rules_of(self.schema, id, value);
            }
        }
        let Value::Object(map) = value else { return };
        for leaf in &node.leaves {
            if is_unset(one, &leaf.field, map) {
                map.insert(leaf.field.clone(), leaf.value.clone());
            }
        }
        for child in &node.children {
            let inside = self.inside(one, &child.field);
            if child.make && map.get(&child.field).is_none_or(Value::is_null) {
                map.insert(child.field.clone(), Value::Object(Map::new()));
            }
            match map.get_mut(&child.field) {
                Some(Value::Array(list)) if child.list => {
                    list.iter_mut().for_each(|value| self.node(&child.node, inside, value));
                }
                Some(value) if !child.list => self.node(&child.node, inside, value),
                _ => {}
            }
        }
        for rule in &node.late {
            self.rule(rule, one, value);
        }
    }

    /// The type of a field, or of the elements of a list field.
    fn inside(&self, one: Option<&'a Type>, field: &str) -> Option<&'a Type> {
        match &one?.field(field)?.shape {
            Shape::Message(id) => Some(self.schema.get(*id)),
            Shape::List(element) => match **element {
                Shape::Message(id) => Some(self.schema.get(id)),
                _ => None,
            },
            _ => None,
        }
    }

    fn rule(&self, rule: &Rule, one: Option<&'a Type>, base: &mut Value) {
        let applies = rule.conditions.iter().all(|condition| holds(condition, base))
            && rule.root_conditions.iter().all(|&index| self.held[index]);
        if !applies {
            return;
        }
        let source = match &rule.value {
            Filling::Value(value) => Some(value.clone()),
            Filling::Copy(from) | Filling::MissingKeys(from) => at(base, from).cloned(),
            Filling::Drop => None,
        };
        let (field, parents) = rule.path.split_last().expect("a rule has a field");
        let (mut one, mut value) = (one, base);
        for parent in parents {
            one = self.inside(one, parent);
            let Value::Object(map) = value else { return };
            if rule.make && map.get(parent).is_none_or(Value::is_null) {
                map.insert(parent.clone(), Value::Object(Map::new()));
            }
            let Some(next) = map.get_mut(parent) else { return };
            value = next;
        }
        let Value::Object(map) = value else { return };
        match (&rule.value, source) {
            (Filling::Drop, _) => {
                map.remove(field);
            }
            (Filling::MissingKeys(_), Some(Value::Object(source))) => {
                let target = map.entry(field.as_str()).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(target) = target else { return };
                for (key, value) in source {
                    target.entry(key).or_insert(value);
                }
            }
            (_, Some(source)) if is_unset(one, field, map) => {
                map.insert(field.clone(), source);
            }
            _ => {}
        }
    }
}

/// Whether a field counts as missing: for what Go holds by value or in a collection, zero is missing, unless an empty
/// list says something.
fn is_unset(one: Option<&Type>, field: &str, map: &Map<String, Value>) -> bool {
    let Some(value) = map.get(field) else { return true };
    match one.and_then(|one| one.field(field)) {
        Some(Field { holder: Holder::Value | Holder::Collection, told_empty: false, .. }) => is_zero(value),
        _ => value.is_null(),
    }
}
