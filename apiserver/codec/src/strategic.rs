//! Strategic merge patch: a merge patch that knows from the schema which lists merge, and by which key.
//!
//! Directives: `$patch` (replace, delete, merge), `$retainKeys`, `$setElementOrder/FIELD`,
//! `$deleteFromPrimitiveList/FIELD`. Behaviour and error texts are upstream's (`util/strategicpatch`).

use std::collections::{HashMap, HashSet};

use api_machinery::Value;
use api_schema::{PatchStrategy, Schema, Shape, Type};
use serde_json::Map;

use crate::go_text;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;

/// What is known about the fields of a map.
#[derive(Clone, Copy)]
pub(crate) enum Known<'a> {
    Type(&'a Type),
    /// Every key has a value of this shape.
    MapOf(&'a Shape),
    Nothing,
}

/// What is known about one field.
struct Meta<'a> {
    patch: PatchStrategy,
    merge_key: Option<&'a str>,
    /// The fields of the value, or of the elements of the list.
    inside: Known<'a>,
}

pub(crate) struct Merge<'a> {
    pub(crate) schema: &'a Schema,
}

fn wrong_kind(wanted: &str, found: &Value) -> String {
    format!("expected a {wanted}, but received a {}", go_text::type_name(found))
}

fn no_merge_key(element: &Value, key: &str) -> String {
    format!("map: {} does not contain declared merge key: {key}", go_text::plain(element))
}

fn unknown_directive(directive: &Value, map: &Value) -> String {
    format!("unknown patch type: {} in map: {}", go_text::plain(directive), go_text::plain(map))
}

impl<'a> Merge<'a> {
    fn inside(&self, shape: &'a Shape) -> Known<'a> {
        match shape {
            Shape::Message(id) => Known::Type(self.schema.get(*id)),
            Shape::Map(element) => Known::MapOf(element),
            Shape::List(element) => self.inside(element),
            Shape::OneOf(shapes) => shapes.first().map_or(Known::Nothing, |shape| self.inside(shape)),
            _ => Known::Nothing,
        }
    }

    fn meta(&self, known: Known<'a>, field: &str) -> Meta<'a> {
        let none = |inside| Meta { patch: PatchStrategy::default(), merge_key: None, inside };
        match known {
            Known::Nothing => none(Known::Nothing),
            Known::MapOf(shape) => none(self.inside(shape)),
            Known::Type(one) => one.field(field).map_or(none(Known::Nothing), |field| Meta {
                patch: field.patch,
                merge_key: field.merge_key.as_deref(),
                inside: self.inside(&field.shape),
            }),
        }
    }

    /// Merges `patch` into `original`.
    pub(crate) fn map(&self, mut original: Object, mut patch: Object, known: Known<'a>) -> Result<Object, String> {
        if let Some(directive) = patch.get(DIRECTIVE) {
            return match directive.as_str() {
                Some("replace") => {
                    patch.remove(DIRECTIVE);
                    Ok(patch)
                }
                Some("delete") => Ok(Object::new()),
                _ => Err(unknown_directive(directive, &Value::Object(patch.clone()))),
            };
        }
        retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, known)?;
        for (key, value) in patch {
            self.field(&mut original, key, value, known)?;
        }
        Ok(original)
    }

    fn field(&self, original: &mut Object, key: String, patch: Value, known: Known<'a>) -> Result<(), String> {
        let (key, deletes) = match key.strip_prefix(DELETE_FROM) {
            Some("") => return Err(format!("invalid patch format of primitive list: {key}")),
            Some(field) => (field.to_owned(), true),
            None => (key, false),
        };
        if patch.is_null() {
            original.remove(&key);
            return Ok(());
        }
        match (original.get_mut(&key), patch) {
            (Some(Value::Object(current)), Value::Object(patch)) if !deletes => {
                let meta = self.meta(known, &key);
                let merged =
                    if meta.patch.replace { patch } else { self.map(std::mem::take(current), patch, meta.inside)? };
                *current = merged;
            }
            (Some(Value::Array(current)), Value::Array(patch)) => {
                let meta = self.meta(known, &key);
                let list = std::mem::take(current);
                *current = if deletes {
                    let gone: HashSet<Value> = patch.into_iter().collect();
                    list.into_iter().filter(|value| !gone.contains(value)).collect()
                } else {
                    self.list(list, patch, &meta, &key)?
                };
            }
            _ if deletes => {}
            (_, patch) => match without_directives(patch) {
                Some(value) => {
                    original.insert(key, value);
                }
                None => {
                    original.remove(&key);
                }
            },
        }
        Ok(())
    }

    fn list(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        meta: &Meta<'a>,
        field: &str,
    ) -> Result<Vec<Value>, String> {
        if !meta.patch.merge {
            return Ok(patch);
        }
        let Some(first) = original.first().or(patch.first()) else { return Ok(original) };
        if !first.is_object() {
            let mut known: HashSet<&Value> = original.iter().collect();
            let new = patch.iter().filter(|value| known.insert(value));
            let merged = original.iter().chain(new).cloned().collect();
            return Ok(in_order(merged, &patch, &original, None));
        }
        let key = meta.merge_key.ok_or_else(|| format!("cannot merge lists without merge key for {field}"))?;
        if let Some(other) = original.iter().chain(&patch).find(|value| !value.is_object()) {
            return Err(wrong_kind("map[string]interface {}", other));
        }
        let (original, patch) = special_elements(original, patch, key)?;
        let mut merged = original.clone();
        let mut places = Places::new(&original, Some(key)).0;
        for element in &patch {
            let value = element.get(key).ok_or_else(|| no_merge_key(element, key))?;
            let found = places.get(value).and_then(|place| merged.get_mut(*place));
            match (found, element.clone()) {
                (Some(Value::Object(current)), Value::Object(element)) => {
                    *current = self.map(std::mem::take(current), element, meta.inside)?;
                }
                (_, element) => {
                    places.entry(value).or_insert(merged.len());
                    merged.extend(without_directives(element));
                }
            }
        }
        Ok(in_order(merged, &patch, &original, Some(key)))
    }

    /// `$setElementOrder/FIELD`: merges the list of the field, then orders it. Both leave the patch.
    fn ordered_lists(&self, original: &mut Object, patch: &mut Object, known: Known<'a>) -> Result<(), String> {
        let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
        for directive in directives {
            let order = match patch.remove(&directive) {
                Some(Value::Array(order)) => order,
                other => return Err(wrong_kind("[]interface {}", &other.unwrap_or_default())),
            };
            let field = &directive[SET_ORDER.len()..];
            let meta = self.meta(known, field);
            let list_of = |value: Option<Value>| match value {
                None => Ok(None),
                Some(Value::Array(list)) => Ok(Some(list)),
                Some(other) => Err(wrong_kind("[]interface {}", &other)),
            };
            let changes = list_of(patch.remove(field))?;
            let current = list_of(original.get(field).cloned())?;
            check_order(changes.as_deref().unwrap_or(&[]), &order, meta.merge_key)?;
            let before = current.clone().unwrap_or_default();
            let merged = match (current, changes) {
                (None, None) => continue,
                (Some(current), None) => current,
                (None, Some(changes)) => match without_directives(Value::Array(changes)) {
                    Some(Value::Array(list)) => list,
                    _ => continue,
                },
                (Some(current), Some(changes)) => self.list(current, changes, &meta, field)?,
            };
            original.insert(field.to_owned(), Value::Array(in_order(merged, &order, &before, meta.merge_key)));
        }
        Ok(())
    }
}

/// `$retainKeys`: what it does not name goes.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), String> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || "invalid patch format of retainKeys".to_owned();
    let kept: HashSet<&str> = directive.as_array().ok_or_else(bad)?.iter().filter_map(Value::as_str).collect();
    let is_kept = |key: &str| kept.contains(key);
    let plain = |key: &str| !key.starts_with(DELETE_FROM) && !key.starts_with(SET_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && plain(key) && !is_kept(key)) {
        return Err(bad());
    }
    original.retain(|key, _| is_kept(key));
    Ok(())
}

/// Takes the elements with `$patch` out of a patch list: deletes what they name, or empties the original.
fn special_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), String> {
    let mut plain = Vec::with_capacity(patch.len());
    let (mut gone, mut replace) = (HashSet::new(), false);
    for element in patch {
        match element.get(DIRECTIVE).map(|directive| (directive, directive.as_str())) {
            None => plain.push(element),
            Some((_, Some("delete"))) => {
                gone.insert(element.get(key).ok_or_else(|| no_merge_key(&element, key))?.clone());
            }
            Some((_, Some("replace"))) => replace = true,
            Some((_, Some("merge"))) => return Err("merging lists cannot yet be specified in the patch".to_owned()),
            Some((directive, _)) => return Err(unknown_directive(directive, &element)),
        }
    }
    original.retain(|one| one.get(key).is_none_or(|value| !gone.contains(value)));
    // What replaces is no patch any more: nothing of the original is left.
    if replace { Ok((plain, Vec::new())) } else { Ok((original, plain)) }
}

/// New values as they are stored: without nulls and directives. `None`: the value itself is a directive.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, value)| {
                !value.is_null() && key != RETAIN_KEYS && !key.starts_with(SET_ORDER) && !key.starts_with(DELETE_FROM)
            });
            Some(Value::Object(kept.filter_map(|(key, value)| Some((key, without_directives(value)?))).collect()))
        }
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        value => Some(value),
    }
}

/// Where the first element stands that is the same by its key, or by its value. Lists are long where somebody
/// wants them to be, so nothing here looks through one list for every element of another.
struct Places<'a, 'k>(HashMap<&'a Value, usize>, Option<&'k str>);

fn identity<'a>(element: &'a Value, key: Option<&str>) -> Option<&'a Value> {
    match key {
        Some(key) => element.get(key),
        None => Some(element),
    }
}

impl<'a, 'k> Places<'a, 'k> {
    fn new(list: &'a [Value], key: Option<&'k str>) -> Self {
        let mut places = HashMap::with_capacity(list.len());
        for (place, element) in list.iter().enumerate() {
            if let Some(identity) = identity(element, key) {
                places.entry(identity).or_insert(place);
            }
        }
        Self(places, key)
    }

    fn of(&self, element: &Value) -> Option<usize> {
        self.0.get(identity(element, self.1)?).copied()
    }
}

/// What `order` names comes in that order; the others keep their order of `live` and are put before the first
/// named element that follows them there.
fn in_order(merged: Vec<Value>, order: &[Value], live: &[Value], key: Option<&str>) -> Vec<Value> {
    let (order, live) = (Places::new(order, key), Places::new(live, key));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|element| order.of(element).is_some());
    named.sort_by_cached_key(|element| order.of(element));
    others.sort_by_cached_key(|element| live.of(element).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for element in named {
        let place = live.of(&element);
        while let Some(other) = others.peek() {
            let before = live.of(other).zip(place).is_some_and(|(other, place)| other < place);
            if !before {
                break;
            }
            out.extend(others.next());
        }
        out.push(element);
    }
    out.extend(others);
    out
}

/// The patch list must follow the order it declares.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), String> {
    if order.is_empty() {
        return Ok(());
    }
    let mut places = order.iter();
    for element in patch.iter().filter(|element| element.get(DIRECTIVE).is_none()) {
        let same = |one: &Value| match key {
            Some(key) => element.get(key).is_some() && one.get(key) == element.get(key),
            None => one == element,
        };
        if let Some(key) = key
            && element.get(key).is_none()
        {
            return Err(no_merge_key(element, key));
        }
        if !places.any(same) {
            let (patch, order) = (go_text::plain(&patch.into()), go_text::plain(&order.into()));
            return Err(format!("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n"));
        }
    }
    Ok(())
}
