//! Sets of fields, as trees of path elements.

use std::collections::BTreeMap;

use api_machinery::Value;
use serde_json::Map;

use super::element::Element;

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(pub(crate) BTreeMap<Element, Node>);

/// What is in the set at and below one element. Never neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// The path that ends here is in the set.
    pub(crate) owned: bool,
    pub(crate) inside: FieldSet,
}

impl Node {
    pub(crate) fn is_empty(&self) -> bool {
        !self.owned && self.inside.is_empty()
    }
}

/// Whether a path of written fields is a member, not only on the way to one.
fn ends_here(written: &Value) -> bool {
    written.as_object().is_some_and(|map| map.is_empty() || map.contains_key("."))
}

impl FieldSet {
    /// The set of dotted paths of plain field names.
    pub fn of_fields<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self::default();
        for path in paths {
            let mut names = path.split('.').peekable();
            let mut at = &mut set;
            while let Some(name) = names.next() {
                let node = at.0.entry(Element::field(name)).or_default();
                node.owned |= names.peek().is_none();
                at = &mut node.inside;
            }
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, element: &Element) -> Option<&Node> {
        self.0.get(element)
    }

    pub(crate) fn insert(&mut self, element: Element, node: Node) {
        if !node.is_empty() {
            self.0.insert(element, node);
        }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (element, node) in &other.0 {
            let own = all.0.entry(element.clone()).or_default();
            own.owned |= node.owned;
            own.inside = own.inside.union(&node.inside);
        }
        all
    }

    /// The union, without a copy of either.
    pub(crate) fn absorb(&mut self, other: Self) {
        for (element, node) in other.0 {
            let own = self.0.entry(element).or_default();
            own.owned |= node.owned;
            own.inside.absorb(node.inside);
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.select(|element, node| {
            let Some(found) = other.get(element) else { return Node::default() };
            Node { owned: node.owned && found.owned, inside: node.inside.intersection(&found.inside) }
        })
    }

    /// Without the paths of `other`; what lies below them stays.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.select(|element, node| match other.get(element) {
            None => node.clone(),
            Some(found) => Node { owned: node.owned && !found.owned, inside: node.inside.difference(&found.inside) },
        })
    }

    /// Without the paths of `other` and all below them.
    pub(crate) fn without_trees(&self, other: &Self) -> Self {
        self.select(|element, node| match other.get(element) {
            None => node.clone(),
            Some(found) if found.owned => Node::default(),
            Some(found) => Node { owned: node.owned, inside: node.inside.without_trees(&found.inside) },
        })
    }

    /// Whether fields as [`Self::encode`] writes them have a path of the set.
    pub(crate) fn meets(&self, written: &Value) -> bool {
        self.0.iter().any(|(element, node)| {
            let found = written.get(element.encode());
            found.is_some_and(|found| (node.owned && ends_here(found)) || node.inside.meets(found))
        })
    }

    /// Whether fields as [`Self::encode`] writes them have every path of the set.
    pub(crate) fn is_within(&self, written: &Value) -> bool {
        self.0.iter().all(|(element, node)| {
            let found = written.get(element.encode());
            found.is_some_and(|found| (!node.owned || ends_here(found)) && node.inside.is_within(found))
        })
    }

    fn select(&self, mut choose: impl FnMut(&Element, &Node) -> Node) -> Self {
        let mut chosen = Self::default();
        for (element, node) in &self.0 {
            chosen.insert(element.clone(), choose(element, node));
        }
        chosen
    }

    /// Every path, parents first, as messages print them.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths("", &mut found);
        found
    }

    fn collect_paths(&self, prefix: &str, found: &mut Vec<String>) {
        let owned = self.0.iter().filter(|(_, node)| node.owned);
        found.extend(owned.map(|(element, _)| format!("{prefix}{element}")));
        for (element, node) in &self.0 {
            node.inside.collect_paths(&format!("{prefix}{element}"), found);
        }
    }

    /// As `fieldsV1`.
    pub(crate) fn encode(&self) -> Value {
        Value::Object(self.encode_into(Map::new()))
    }

    fn encode_into(&self, mut map: Map<String, Value>) -> Map<String, Value> {
        for (element, node) in &self.0 {
            let mut inside = Map::new();
            if node.owned && !node.inside.is_empty() {
                inside.insert(".".to_owned(), Value::Object(Map::new()));
            }
            map.insert(element.encode(), Value::Object(node.inside.encode_into(inside)));
        }
        map
    }

    /// From `fieldsV1`; `None` when it is not one.
    pub(crate) fn decode(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (name, inside) in fields.as_object()? {
            if name == "." {
                continue;
            }
            let node = Node { owned: ends_here(inside), inside: Self::decode(inside)? };
            set.insert(Element::decode(name)?, node);
        }
        Some(set)
    }
}
