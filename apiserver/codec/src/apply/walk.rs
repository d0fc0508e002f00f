//! Along an object and its schema: the fields it states, how two objects differ, an object without some fields.

use std::collections::BTreeMap;

use api_machinery::Value;
use api_schema::Schema;
use serde_json::Map;

use super::element::Element;
use super::place::Place;
use super::set::{FieldSet, Node};

/// How two objects differ. No path is in both sets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// What the second has anew, or with another value.
    pub(crate) touched: FieldSet,
    pub(crate) removed: FieldSet,
}

#[derive(Default)]
struct Difference {
    touched: Node,
    removed: Node,
}

#[derive(Clone, Copy)]
pub(crate) struct Walk<'a> {
    pub(crate) schema: &'a Schema,
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn owned() -> Node {
    Node { owned: true, inside: FieldSet::default() }
}

impl<'a> Walk<'a> {
    /// Every field an object states.
    pub(crate) fn fields(self, place: Place<'a>, value: &Value) -> FieldSet {
        self.stated(place, value).inside
    }

    fn stated(self, place: Place<'a>, value: &Value) -> Node {
        match (place, value) {
            (Place::Leaf, _) => owned(),
            (Place::Fields(_) | Place::Map(_), Value::Object(map)) => {
                let mut inside = FieldSet::default();
                for (name, value) in map {
                    let mut node = self.stated(place.inside(self.schema, name), value);
                    let step = Element::field(name);
                    node.owned |= is_blank(value) || !place.names(&step);
                    inside.insert(step, node);
                }
                Node { owned: false, inside }
            }
            (Place::Set | Place::Keyed { .. }, Value::Array(items)) => {
                let mut inside = FieldSet::default();
                for (step, found) in self.by_element(place, items) {
                    let mut node = match found.as_slice() {
                        [one] => self.stated(place.element(self.schema), one),
                        // Elements that cannot be told apart are managed as one.
                        _ => Node::default(),
                    };
                    node.owned = true;
                    inside.insert(step, node);
                }
                Node { owned: false, inside }
            }
            _ => Node::default(),
        }
    }

    /// The elements of a list by what tells them apart; those that nothing tells apart are left out.
    fn by_element<'v>(self, place: Place<'a>, items: &'v [Value]) -> BTreeMap<Element, Vec<&'v Value>> {
        let mut found: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
        for item in items {
            if let Ok(step) = place.identify(self.schema, item) {
                found.entry(step).or_default().push(item);
            }
        }
        found
    }

    pub(crate) fn compare(self, place: Place<'a>, before: &Value, after: &Value) -> Comparison {
        let found = self.differ(place, Some(before), Some(after));
        Comparison { touched: found.touched.inside, removed: found.removed.inside }
    }

    fn differ(self, place: Place<'a>, before: Option<&Value>, after: Option<&Value>) -> Difference {
        let mut found = Difference::default();
        let both_maps = matches!((before, after), (Some(Value::Object(_)), Some(Value::Object(_))));
        // Maps are looked into anyhow: comparing them first would compare everything once for each level.
        if both_maps && matches!(place, Place::Fields(_) | Place::Map(_)) {
            self.differ_in_fields(place, before, after, &mut found);
            return found;
        }
        if before == after {
            return found;
        }
        let whole = match place {
            Place::Leaf => true,
            Place::Fields(_) | Place::Map(_) => !self.differ_in_fields(place, before, after, &mut found),
            Place::Set | Place::Keyed { .. } => !self.differ_in_elements(place, before, after, &mut found),
        };
        match (before, after) {
            (_, None) => found.removed.owned = true,
            (None, _) => found.touched.owned = true,
            _ => found.touched.owned |= whole,
        }
        found
    }

    /// False when neither has a field: then they differ as a whole.
    fn differ_in_fields(
        self,
        place: Place<'a>,
        before: Option<&Value>,
        after: Option<&Value>,
        found: &mut Difference,
    ) -> bool {
        let empty = Map::new();
        let before = before.and_then(Value::as_object).unwrap_or(&empty);
        let after = after.and_then(Value::as_object).unwrap_or(&empty);
        for (name, value) in before {
            let inner = self.differ(place.inside(self.schema, name), Some(value), after.get(name));
            found.place(inner, || Element::field(name));
        }
        for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
            let inner = self.differ(place.inside(self.schema, name), None, Some(value));
            found.place(inner, || Element::field(name));
        }
        !(before.is_empty() && after.is_empty())
    }

    fn differ_in_elements(
        self,
        place: Place<'a>,
        before: Option<&Value>,
        after: Option<&Value>,
        found: &mut Difference,
    ) -> bool {
        let (before, after) = (items(before), items(after));
        let (old, new) = (self.by_element(place, before), self.by_element(place, after));
        let inner = place.element(self.schema);
        for (step, olds) in &old {
            let news = new.get(step).map_or(&[][..], Vec::as_slice);
            found.place(self.differ_in_element(inner, olds, news), || step.clone());
        }
        for (step, news) in new.iter().filter(|(step, _)| !old.contains_key(*step)) {
            found.place(self.differ_in_element(inner, &[], news), || step.clone());
        }
        !(before.is_empty() && after.is_empty())
    }

    /// Elements that cannot be told apart are compared as one, without a look inside.
    fn differ_in_element(self, place: Place<'a>, before: &[&Value], after: &[&Value]) -> Difference {
        let mut found = Difference::default();
        match (before, after) {
            ([] | [_], [] | [_]) => return self.differ(place, before.first().copied(), after.first().copied()),
            ([_, _, ..], [_, _, ..]) => found.touched.owned = before != after,
            ([_, _, ..], _) => {
                if let Some(one) = after.first() {
                    found = self.differ(place, None, Some(one));
                }
                found.touched.owned = false;
                found.removed.owned = true;
            }
            _ => {
                if let Some(one) = before.first() {
                    found = self.differ(place, Some(one), None);
                }
                found.removed.owned = false;
                found.touched.owned = true;
            }
        }
        found
    }

    /// The set with every named field on the way to a member as a member too.
    pub(crate) fn with_named(self, place: Place<'a>, set: &FieldSet) -> FieldSet {
        let mut all = FieldSet::default();
        for (step, node) in &set.0 {
            let inside = self.with_named(place.below(self.schema, step), &node.inside);
            all.insert(step.clone(), Node { owned: node.owned || place.names(step), inside });
        }
        all
    }

    /// The value without the fields of a set; `None` when nothing of it is left.
    pub(crate) fn without(self, place: Place<'a>, value: &Value, remove: &FieldSet) -> Option<Value> {
        match (place, value) {
            (Place::Fields(_) | Place::Map(_), Value::Object(map)) => {
                let mut kept = Map::new();
                for (name, value) in map {
                    let inner = place.inside(self.schema, name);
                    if let Some(value) = self.keep(inner, value, remove.get(&Element::field(name))) {
                        kept.insert(name.clone(), value);
                    }
                }
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            (Place::Set | Place::Keyed { .. }, Value::Array(items)) => {
                let inner = place.element(self.schema);
                let node = |item| place.identify(self.schema, item).ok().and_then(|step| remove.get(&step));
                let kept: Vec<Value> = items.iter().filter_map(|item| self.keep(inner, item, node(item))).collect();
                (!kept.is_empty()).then_some(Value::Array(kept))
            }
            (_, Value::Object(_) | Value::Array(_)) => None,
            (_, scalar) => Some(scalar.clone()),
        }
    }

    fn keep(self, place: Place<'a>, value: &Value, remove: Option<&Node>) -> Option<Value> {
        match remove {
            None => Some(value.clone()),
            Some(node) if node.owned => None,
            Some(node) => self.without(place, value, &node.inside),
        }
    }
}

impl Difference {
    fn place(&mut self, inner: Difference, step: impl Fn() -> Element) {
        if !inner.touched.is_empty() {
            self.touched.inside.insert(step(), inner.touched);
        }
        if !inner.removed.is_empty() {
            self.removed.inside.insert(step(), inner.removed);
        }
    }
}
