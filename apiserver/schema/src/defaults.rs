//! Static defaults as rules over paths. `facts/README.md` says what the columns mean.

use api_machinery::Value;

/// The rules of one type: first all plain ones, as a tree over the fields, then the conditional ones in order.
#[derive(Debug, Default)]
pub struct DefaultRules {
    pub root: Node,
    /// Conditions over the type itself (`^`), evaluated once before anything is filled in. Rules name them by index.
    pub root_conditions: Vec<Condition>,
}

/// What holds below one object: the type itself, a field that is an object, or each element of a list.
#[derive(Debug, Default)]
pub struct Node {
    /// Fills in fields of this object.
    pub leaves: Vec<Leaf>,
    pub children: Vec<Child>,
    /// Rules with conditions, in order, after the leaves and children of this node. Only where a base is.
    pub late: Vec<Rule>,
    /// Types whose rules hold here as well, before everything else.
    pub includes: Vec<String>,
}

#[derive(Debug)]
pub struct Child {
    pub field: String,
    /// Goes into each element.
    pub list: bool,
    /// Made when absent.
    pub make: bool,
    pub node: Node,
}

#[derive(Debug)]
pub struct Leaf {
    pub field: String,
    pub value: Value,
}

/// A conditional default. Paths are relative to the base.
#[derive(Debug)]
pub struct Rule {
    /// At least one field.
    pub path: Vec<String>,
    pub value: Filling,
    pub make: bool,
    pub conditions: Vec<Condition>,
    /// Indices into [`DefaultRules::root_conditions`].
    pub root_conditions: Vec<usize>,
}

#[derive(Debug)]
pub enum Filling {
    Value(Value),
    /// A copy of another field.
    Copy(Vec<String>),
    /// The keys of another map that are missing.
    MissingKeys(Vec<String>),
    /// The field is removed.
    Drop,
}

#[derive(Debug)]
pub enum Condition {
    OneOf(Vec<String>, Vec<Value>),
    NotEmpty(Vec<String>),
    Present(Vec<String>),
    Unset(Vec<String>),
    /// An image reference without digest, and without tag or with the tag `latest`.
    LatestImage(Vec<String>),
    /// The object has no field but this one.
    OnlyField(String),
}

/// `a.b[k.x].c` -> fields; lists are split off before.
fn fields(path: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (index, part) in path.split('[').enumerate() {
        let dotted = match part.split_once(']') {
            Some((key, rest)) if index > 0 => {
                out.push(key.to_owned());
                rest
            }
            _ => part,
        };
        out.extend(dotted.split('.').filter(|field| !field.is_empty()).map(str::to_owned));
    }
    out
}

fn condition(text: &str) -> Condition {
    let call = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(path) = call("latest") {
        return Condition::LatestImage(fields(path));
    }
    if let Some(field) = call("only") {
        return Condition::OnlyField(field.to_owned());
    }
    if let Some(path) = text.strip_prefix('+') {
        return Condition::NotEmpty(fields(path));
    }
    if let Some(path) = text.strip_prefix('?') {
        return Condition::Present(fields(path));
    }
    if let Some(path) = text.strip_prefix('-') {
        return Condition::Unset(fields(path));
    }
    let (path, values) = text.split_once('=').unwrap_or_else(|| panic!("facts/defaults.tsv: condition {text}"));
    let value = |text: &str| match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => Value::from(text),
    };
    Condition::OneOf(fields(path), values.split('|').map(value).collect())
}

/// Fields up to each `[]`: the way to the base; then the path from there.
fn split_base(path: &str) -> (Vec<Vec<String>>, Vec<String>) {
    let mut parts: Vec<&str> = path.split("[]").collect();
    let last = parts.pop().unwrap_or("");
    (parts.into_iter().map(fields).collect(), fields(last))
}

impl Node {
    fn child(&mut self, field: &str, list: bool, make: bool) -> &mut Node {
        let found = self.children.iter().position(|child| child.field == field && child.list == list);
        let index = found.unwrap_or_else(|| {
            self.children.push(Child { field: field.to_owned(), list, make, node: Node::default() });
            self.children.len() - 1
        });
        self.children[index].make |= make && !list;
        &mut self.children[index].node
    }

    fn base(&mut self, lists: &[Vec<String>]) -> &mut Node {
        let mut node = self;
        for list in lists {
            let (field, parents) = list.split_last().expect("facts/defaults.tsv: a list has a field");
            for parent in parents {
                node = node.child(parent, false, false);
            }
            node = node.child(field, true, false);
        }
        node
    }
}

impl DefaultRules {
    /// Adds a line of `facts/defaults.tsv` (the columns after the type). Panics on a malformed one: they are compiled in and tested.
    pub(crate) fn add(&mut self, columns: &[&str]) {
        let column = |index: usize| columns.get(index).copied().unwrap_or("-");
        let (lists, path) = split_base(column(0));
        let make = column(2) == "parents";
        let when: Vec<&str> = column(3).split(',').filter(|when| !matches!(*when, "-" | "always")).collect();
        let late = column(3) != "-";
        let base = self.root.base(&lists);
        let filling = match column(1) {
            "drop" => Filling::Drop,
            text => match (text.strip_prefix('='), text.strip_prefix('<'), text.strip_prefix("include ")) {
                (Some(from), ..) => Filling::Copy(fields(from)),
                (_, Some(from), _) => Filling::MissingKeys(fields(from)),
                (.., Some(name)) if !late || make => {
                    return path
                        .iter()
                        .fold(base, |node, field| node.child(field, false, make))
                        .includes
                        .push(name.to_owned());
                }
                (.., Some(name)) => {
                    // Only where the parent is: the last field is made, those before it are not.
                    let (field, parents) = path.split_last().expect("facts/defaults.tsv: an include has a path");
                    let parent = parents.iter().fold(base, |node, field| node.child(field, false, false));
                    return parent.child(field, false, true).includes.push(name.to_owned());
                }
                _ => Filling::Value(serde_json::from_str(text).expect("facts/defaults.tsv: a value is JSON")),
            },
        };
        match filling {
            Filling::Value(value) if !late => {
                let (field, parents) = path.split_last().expect("facts/defaults.tsv: a rule has a field");
                let node = parents.iter().fold(base, |node, field| node.child(field, false, make));
                node.leaves.push(Leaf { field: field.clone(), value });
            }
            value => {
                let (at_root, here): (Vec<&str>, Vec<&str>) = when.iter().partition(|when| when.starts_with('^'));
                let first = self.root_conditions.len();
                self.root_conditions.extend(at_root.iter().map(|when| condition(&when[1..])));
                let rule = Rule {
                    path,
                    value,
                    make,
                    conditions: here.into_iter().map(condition).collect(),
                    root_conditions: (first..self.root_conditions.len()).collect(),
                };
                self.root.base(&lists).late.push(rule);
            }
        }
    }
}
