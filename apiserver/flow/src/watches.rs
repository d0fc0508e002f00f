//! How many watches a write is to be told to. Pure.

use std::collections::HashMap;

/// What is watched: an empty namespace or name is all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watched {
    pub group: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Default)]
pub struct Watches(HashMap<Watched, u64>);

/// Whether a watch counts: one of the pods of one node is told of few changes only, as upstream.
pub fn counts(resource: &str, node: Option<&str>) -> bool {
    resource != "pods" || node.is_none_or(str::is_empty)
}

impl Watches {
    pub fn open(&mut self, watched: Watched) {
        *self.0.entry(watched).or_insert(0) += 1;
    }

    pub fn close(&mut self, watched: &Watched) {
        if let Some(count) = self.0.get_mut(watched) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(watched);
            }
        }
    }

    /// Of watches of the resource, of its namespace, of the object.
    pub fn interested(&self, written: &Watched) -> u64 {
        let mut at = Watched { namespace: String::new(), name: String::new(), ..written.clone() };
        let count = |at: &Watched| self.0.get(at).copied().unwrap_or(0);
        let mut all = count(&at);
        if !written.namespace.is_empty() {
            at.namespace.clone_from(&written.namespace);
            all += count(&at);
        }
        if !written.name.is_empty() {
            at.name.clone_from(&written.name);
            all += count(&at);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_told_to_whom_it_concerns() {
        let of = |namespace: &str, name: &str| Watched {
            group: String::new(),
            resource: "pods".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let mut watches = Watches::default();
        for (namespace, name) in [("", ""), ("a", ""), ("a", ""), ("a", "p"), ("b", "")] {
            watches.open(of(namespace, name));
        }
        let interested = |watches: &Watches| {
            [("a", "p"), ("a", "q"), ("b", ""), ("", "")]
                .map(|(namespace, name)| watches.interested(&of(namespace, name)))
        };
        assert_eq!(interested(&watches), [4, 3, 2, 1]);
        watches.close(&of("a", ""));
        watches.close(&of("c", ""));
        assert_eq!(interested(&watches), [3, 2, 2, 1]);
        assert!(counts("pods", None) && !counts("pods", Some("n1")) && counts("secrets", Some("n1")));
    }
}
