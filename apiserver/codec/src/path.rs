//! Where in an object one is, without allocating until it is printed.

use std::fmt;

/// A chain on the stack, innermost first.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
    /// The key of a map.
    Key(&'a Place<'a>, &'a str),
    /// In structs that Go's type embeds, which only its decoder names.
    Embedded(&'a Place<'a>, &'a [String]),
}

/// `spec.containers[0].name`, as strict decoding names fields.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Embedded(parent, _) => write!(f, "{parent}"),
            Place::Field(parent, name) | Place::Key(parent, name) if parent.is_root() => f.write_str(name),
            Place::Field(parent, name) | Place::Key(parent, name) => write!(f, "{parent}.{name}"),
            Place::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl Place<'_> {
    fn is_root(&self) -> bool {
        match self {
            Place::Root => true,
            Place::Embedded(parent, _) => parent.is_root(),
            _ => false,
        }
    }

    /// `spec.containers.name`: the field stack of Go's decoder, which knows no indices and no map keys, but the embedded
    /// structs that a field is in: `spec.containers.livenessProbe.ProbeHandler.exec`.
    pub(crate) fn fields(&self) -> String {
        let mut names = Vec::new();
        self.add_fields(&mut names);
        names.join(".")
    }

    fn add_fields<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Place::Root => {}
            Place::Field(parent, name) => {
                parent.add_fields(names);
                names.push(name);
            }
            Place::Embedded(parent, embedded) => {
                parent.add_fields(names);
                names.extend(embedded.iter().map(String::as_str));
            }
            Place::Index(parent, _) | Place::Key(parent, _) => parent.add_fields(names),
        }
    }
}
