//! What the schema says of one position in an object: is it managed as a whole, or what is inside.

use api_machinery::Value;
use api_schema::{Field, ListType, Schema, Shape, Type};

use super::element::{Element, Scalar};

/// How the value at one position is managed.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// As a whole: a scalar, an atomic list or map, what is not known.
    Leaf,
    /// Field by field.
    Fields(&'a Type),
    /// Key by key.
    Map(&'a Shape),
    /// A list whose elements are told apart by their values.
    Set,
    /// A list whose elements are told apart by some of their fields.
    Keyed { element: &'a Shape, keys: &'a [String] },
}

impl<'a> Place<'a> {
    pub(crate) fn of_type(one: &'a Type) -> Self {
        if one.atomic { Self::Leaf } else { Self::Fields(one) }
    }

    fn of_shape(schema: &'a Schema, shape: &'a Shape) -> Self {
        match shape {
            Shape::Message(id) => Self::of_type(schema.get(*id)),
            Shape::Map(element) => Self::Map(element),
            _ => Self::Leaf,
        }
    }

    fn of_field(schema: &'a Schema, field: &'a Field) -> Self {
        if field.map_type.as_deref() == Some("atomic") {
            return Self::Leaf;
        }
        match (&field.shape, field.list_type) {
            // What is atomic everywhere else.
            (Shape::Message(id), _) if field.map_type.as_deref() == Some("granular") => Self::Fields(schema.get(*id)),
            (Shape::List(_), ListType::Set) => Self::Set,
            (Shape::List(element), ListType::Map) => Self::Keyed { element, keys: &field.list_map_keys },
            (shape, _) => Self::of_shape(schema, shape),
        }
    }

    /// Of a field or a key.
    pub(crate) fn inside(self, schema: &'a Schema, name: &str) -> Self {
        match self {
            Self::Fields(one) => one.field(name).map_or(Self::Leaf, |field| Self::of_field(schema, field)),
            Self::Map(shape) => Self::of_shape(schema, shape),
            Self::Leaf | Self::Set | Self::Keyed { .. } => Self::Leaf,
        }
    }

    /// Of the elements of a list.
    pub(crate) fn element(self, schema: &'a Schema) -> Self {
        match self {
            Self::Keyed { element, .. } => Self::of_shape(schema, element),
            _ => Self::Leaf,
        }
    }

    /// Below one step of a path.
    pub(crate) fn below(self, schema: &'a Schema, step: &Element) -> Self {
        match step {
            Element::Field(name) => self.inside(schema, name),
            _ => self.element(schema),
        }
    }

    /// Whether a name is one of the schema's own, not a key of a map.
    pub(crate) fn names(self, step: &Element) -> bool {
        matches!((self, step), (Self::Fields(one), Element::Field(name)) if one.field(name).is_some())
    }

    /// What tells an element of a list apart; `Err` says why nothing does.
    pub(crate) fn identify(self, schema: &Schema, item: &Value) -> Result<Element, String> {
        match self {
            Self::Keyed { element, keys } => identify_by_keys(schema, element, keys, item),
            _ if item.is_null() => Err("associative list without keys has an element that's an explicit null".into()),
            _ if item.is_object() || item.is_array() => {
                Err("associative list without keys has an element that's a map or list type".into())
            }
            _ => Ok(Element::Value(Scalar(item.clone()))),
        }
    }
}

fn identify_by_keys(schema: &Schema, element: &Shape, keys: &[String], item: &Value) -> Result<Element, String> {
    let Value::Object(map) = item else {
        let what = if item.is_null() { "a null element" } else { "non-map elements" };
        return Err(format!("associative list with keys may not have {what}"));
    };
    let fields = match element {
        Shape::Message(id) => Some(schema.get(*id)),
        _ => None,
    };
    let default = |name: &str| fields.and_then(|one| one.field(name)).and_then(|field| field.default.as_ref());
    let found: Vec<_> =
        keys.iter().filter_map(|name| Some((name.clone(), map.get(name).or_else(|| default(name))?.clone()))).collect();
    if found.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.join(" ")
        ));
    }
    Ok(Element::key(found))
}
