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
}

/// `spec.containers[0].name`, as strict decoding names fields.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Field(Place::Root, name) | Place::Key(Place::Root, name) => f.write_str(name),
            Place::Field(parent, name) | Place::Key(parent, name) => write!(f, "{parent}.{name}"),
            Place::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl Place<'_> {
    /// `spec.containers.name`: the field stack of Go's decoder, which knows no indices and no map keys.
    pub(crate) fn fields(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Field(parent, name) => {
                let mut text = parent.fields();
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
                text
            }
            Place::Index(parent, _) | Place::Key(parent, _) => parent.fields(),
        }
    }
}
