//! What is read of every version as it comes, in one pass that makes nothing of the rest: labels, and the node
//! of a pod. Selectors and indexes ask for these of every version; most are never looked at otherwise.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Labels, sorted by key, in two allocations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Keys and values, one behind the other.
    text: Box<str>,
    /// Where each key and each value ends.
    ends: Box<[u32]>,
}

impl Labels {
    /// Without those that do not fit: an object is smaller than 4 GiB by far.
    fn new(labels: &BTreeMap<String, String>) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::with_capacity(2 * labels.len()));
        for part in labels.iter().flat_map(|(key, value)| [key, value]) {
            text.push_str(part);
            let Ok(end) = u32::try_from(text.len()) else { return Self::default() };
            ends.push(end);
        }
        Self { text: text.into(), ends: ends.into() }
    }

    fn part(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[start..self.ends[at] as usize]
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let count = self.ends.len() / 2;
        let found = (0..count).find(|pair| self.part(2 * pair) == key)?;
        Some(self.part(2 * found + 1))
    }

    fn bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.ends)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) labels: Labels,
    /// `spec.nodeName`, where there is one.
    pub(crate) node: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Indexed {
    metadata: Option<Metadata>,
    spec: Option<Spec>,
}

#[derive(Deserialize)]
struct Metadata {
    labels: Option<BTreeMap<String, String>>,
}

/// Any kind's: only a text counts as the name of a node.
#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "nodeName")]
    node_name: Option<Text>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(Box<str>),
    Other(serde::de::IgnoredAny),
}

impl Index {
    /// Nothing of what is not as it should be: what the codec writes is.
    pub(crate) fn read(json: &[u8]) -> Self {
        let has = |field: &[u8]| memchr::memmem::find(json, field).is_some();
        if !has(b"\"labels\"") && !has(b"\"nodeName\"") {
            return Self::default();
        }
        let Ok(read) = serde_json::from_slice::<Indexed>(json) else { return Self::default() };
        let labels = read.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
        let node = match read.spec.and_then(|spec| spec.node_name) {
            Some(Text::Text(name)) if !name.is_empty() => Some(name),
            _ => None,
        };
        Self { labels: Labels::new(&labels), node }
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.labels.bytes() + self.node.as_ref().map_or(0, |node| node.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_labels_and_node_only() {
        let of = |json: &str| Index::read(json.as_bytes());
        let pod = of(r#"{"metadata":{"name":"p","labels":{"b":"2","a":"\u00e4","":""}},"spec":{"nodeName":"n"}}"#);
        let labels = ["a", "b", "", "c"].map(|key| pod.labels.get(key));
        assert_eq!((labels, pod.node.as_deref()), ([Some("ä"), Some("2"), Some(""), None], Some("n")));
        let labels_in_a_template = of(r#"{"metadata":{},"spec":{"template":{"metadata":{"labels":{"a":"b"}}}}}"#);
        for nothing in [
            labels_in_a_template,
            of(r#"{"metadata":{"labels":{}},"spec":{"nodeName":""}}"#),
            of(r#"{"spec":{"nodeName":{"not":"a text"}}}"#),
            of("not JSON \"labels\""),
        ] {
            assert_eq!(nothing, Index::default());
        }
    }
}
