//! The order in which a document says things. Upstream finds duplicate and unknown fields while it reads; here they
//! are found one after the other, and only what is to be reported is looked for again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::path::Place;

const DUPLICATE: &str = "duplicate field \"";
const UNKNOWN: &str = "unknown field \"";

/// Sorts findings of a JSON document by where in it they are. What cannot be found comes last.
pub(crate) fn sort(json: &[u8], findings: &mut Vec<String>) {
    if findings.len() < 2 {
        return;
    }
    let fields = findings.iter().filter_map(|finding| field(finding));
    let places: HashMap<String, Vec<usize>> = fields.map(|(field, _)| (field.to_owned(), Vec::new())).collect();
    let search = Search { places: RefCell::new(places), keys: Cell::new(0) };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    // Whoever calls has read it before.
    let _ = Seed { place: Place::Root, search: &search }.deserialize(&mut deserializer);
    let places = search.places.into_inner();
    let mut repeated: HashMap<String, usize> = HashMap::new();
    let keyed = findings.drain(..).map(|finding| (position(&finding, &places, &mut repeated), finding));
    let mut keyed: Vec<(usize, String)> = keyed.collect();
    keyed.sort_by_key(|(position, _)| *position);
    findings.extend(keyed.into_iter().map(|(_, finding)| finding));
}

/// The field of a finding, and whether it is there again.
fn field(finding: &str) -> Option<(&str, bool)> {
    let of = |prefix: &str| finding.strip_prefix(prefix)?.strip_suffix('"');
    of(DUPLICATE).map(|field| (field, true)).or_else(|| of(UNKNOWN).map(|field| (field, false)))
}

/// Each repetition has a place of its own: the second, the third, ...
fn position(finding: &str, places: &HashMap<String, Vec<usize>>, repeated: &mut HashMap<String, usize>) -> usize {
    let Some((field, again)) = field(finding) else { return usize::MAX };
    let nth = if again {
        let times = repeated.entry(field.to_owned()).or_default();
        *times += 1;
        *times
    } else {
        0
    };
    places.get(field).and_then(|places| places.get(nth)).copied().unwrap_or(usize::MAX)
}

struct Search {
    /// Of the fields looked for, the numbers of their keys.
    places: RefCell<HashMap<String, Vec<usize>>>,
    /// Keys passed so far.
    keys: Cell<usize>,
}

impl Search {
    fn pass(&self, place: &Place<'_>) {
        let number = self.keys.get();
        self.keys.set(number + 1);
        if let Some(places) = self.places.borrow_mut().get_mut(&place.to_string()) {
            places.push(number);
        }
    }
}

struct Seed<'a> {
    place: Place<'a>,
    search: &'a Search,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut index = 0;
        let element = |index| Seed { place: Place::Index(&self.place, index), search: self.search };
        while access.next_element_seed(element(index))?.is_some() {
            index += 1;
        }
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while let Some(key) = access.next_key::<String>()? {
            let place = Place::Field(&self.place, &key);
            self.search.pass(&place);
            access.next_value_seed(Seed { place, search: self.search })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_in_the_order_of_the_document() {
        let json = br#"{"b":1,"a":[{"x":1,"y":{"z":1,"z":2},"x":2}],"b":2,"a":[],"b":3}"#;
        let mut findings: Vec<String> = [
            r#"duplicate field "b""#,
            r#"duplicate field "b""#,
            r#"duplicate field "a[0].x""#,
            r#"duplicate field "a[0].y.z""#,
            r#"unknown field "elsewhere""#,
            r#"unknown field "a[0].y""#,
            r#"unknown field "b""#,
        ]
        .map(str::to_owned)
        .into();
        sort(json, &mut findings);
        assert_eq!(
            findings,
            [
                r#"unknown field "b""#,
                r#"unknown field "a[0].y""#,
                r#"duplicate field "a[0].y.z""#,
                r#"duplicate field "a[0].x""#,
                r#"duplicate field "b""#,
                r#"duplicate field "b""#,
                r#"unknown field "elsewhere""#,
            ]
        );
    }
}
