//! An object with a configuration merged into it. The configuration is checked: its list elements can be told apart.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use api_machinery::Value;
use api_schema::Schema;
use serde_json::Map;

use super::element::Element;
use super::place::Place;
use crate::default::is_empty;

pub(crate) struct Merge<'a> {
    pub(crate) schema: &'a Schema,
}

impl<'a> Merge<'a> {
    /// `Err` names the path of what cannot be merged, and why.
    pub(crate) fn merge(&self, place: Place<'a>, live: &Value, config: &Value) -> Result<Value, String> {
        self.both(place, Some(live), config)
    }

    fn both(&self, place: Place<'a>, live: Option<&Value>, config: &Value) -> Result<Value, String> {
        match (place, config) {
            (Place::Fields(_) | Place::Map(_), Value::Object(config)) => self.maps(place, live, config),
            (Place::Set | Place::Keyed { .. }, Value::Array(config)) => {
                self.lists(place, live.and_then(Value::as_array).map_or(&[], Vec::as_slice), config)
            }
            // Of what is merged inside, nothing says that nothing is wanted; what is empty anyway becomes nothing.
            (Place::Fields(_) | Place::Map(_) | Place::Set | Place::Keyed { .. }, Value::Null) => {
                Ok(live.filter(|live| !is_empty(live)).unwrap_or(&Value::Null).clone())
            }
            _ => Ok(config.clone()),
        }
    }

    fn maps(&self, place: Place<'a>, live: Option<&Value>, config: &Map<String, Value>) -> Result<Value, String> {
        let mut merged = live.and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, value) in config {
            let inner = self.both(place.inside(self.schema, name), merged.get(name), value);
            merged.insert(name.clone(), inner.map_err(|why| format!(".{name}{why}"))?);
        }
        Ok(Value::Object(merged))
    }

    /// Elements that only the live list has keep their places; those of the configuration come in its order.
    fn lists(&self, place: Place<'a>, live: &[Value], config: &[Value]) -> Result<Value, String> {
        let wanted = self.elements(place, config)?;
        let wanted_steps: BTreeSet<&Element> = wanted.iter().map(|(step, _)| step).collect();
        let live = self.elements(place, live)?;
        let mut counts: BTreeMap<&Element, (usize, &Value)> = BTreeMap::new();
        for (step, value) in &live {
            counts.entry(step).or_insert((0, value)).0 += 1;
        }
        // Live elements that nothing tells apart are not merged with, but replaced.
        let matching = |step: &Element| counts.get(step).filter(|(count, _)| *count == 1).map(|(_, value)| *value);
        let shared = wanted.iter().map(|(step, _)| step).filter(|step| counts.contains_key(step)).collect();
        let mut out = Vec::with_capacity(live.len().max(wanted.len()));
        for turn in order(&live, &wanted, &wanted_steps, shared) {
            out.push(match turn {
                Turn::Live(at) => live[at].1.clone(),
                Turn::Wanted(at) => {
                    let (step, value) = &wanted[at];
                    let inner = self.both(place.element(self.schema), matching(step), value);
                    inner.map_err(|why| format!("{step}{why}"))?
                }
            });
        }
        Ok(Value::Array(out))
    }

    fn elements<'v>(&self, place: Place<'a>, items: &'v [Value]) -> Result<Vec<(Element, &'v Value)>, String> {
        let step = |(index, item)| match place.identify(self.schema, item) {
            Ok(step) => Ok((step, item)),
            Err(why) => Err(format!(": element {index}: {why}")),
        };
        items.iter().enumerate().map(step).collect()
    }
}

/// Where the next element of a merged list comes from.
enum Turn {
    Live(usize),
    Wanted(usize),
}

/// The order of a merged list: each element once, as upstream interleaves the two.
fn order(
    live: &[(Element, &Value)],
    wanted: &[(Element, &Value)],
    wanted_steps: &BTreeSet<&Element>,
    mut shared: VecDeque<&Element>,
) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut done = BTreeSet::new();
    let mut due = shared.pop_front();
    let (mut l, mut w) = (0, 0);
    while l < live.len() || w < wanted.len() {
        if let (Some((own, _)), Some((next, _))) = (live.get(l), wanted.get(w)) {
            if own == next {
                turns.push(Turn::Wanted(w));
                done.insert(next);
                (l, w) = (l + 1, w + 1);
                due = shared.pop_front();
                continue;
            }
            if wanted_steps.contains(own) && due.is_some_and(|due| due != own) {
                l += 1;
                continue;
            }
        }
        if let Some((own, _)) = live.get(l) {
            if !wanted_steps.contains(own) {
                turns.push(Turn::Live(l));
                l += 1;
                continue;
            }
            if done.contains(own) {
                l += 1;
            }
        }
        if let Some((next, _)) = wanted.get(w) {
            turns.push(Turn::Wanted(w));
            done.insert(next);
            w += 1;
            if due == Some(next) {
                due = shared.pop_front();
            }
        }
    }
    turns
}
