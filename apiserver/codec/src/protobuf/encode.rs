//! From a value to the message of its type.

use api_schema::{Field, Holder, Schema, Shape, Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tree::Tree;
use super::wire::Backwards;
use super::{is_wrapped_list, on_wire, scalar};

/// Writes what upstream writes, byte for byte: fields in the order of their tags, values of fields that are no
/// pointers even when they are zero, map entries by key. `None`: the value does not fit.
pub(super) struct Encoder<'a> {
    pub(super) schema: &'a Schema,
    pub(super) out: Backwards,
}

impl Encoder<'_> {
    pub(super) fn message(&mut self, one: &Type, map: &Tree<'_>) -> Option<()> {
        map.as_map()?;
        let mut inlined = 0;
        for field in one.fields.iter().rev() {
            match field.nesting.first() {
                None if on_wire(one, field) => {
                    self.field(field, map.field(&field.json))?;
                }
                // All fields of an inlined type follow each other; they are one message.
                Some(&tag) if tag != inlined => {
                    inlined = tag;
                    let (id, _) = one.inlined.iter().find(|(_, own)| *own == tag)?;
                    let end = self.out.mark();
                    self.message(self.schema.get(*id), map)?;
                    self.out.delimit(tag, end);
                }
                _ => {}
            }
        }
        Some(())
    }

    fn field(&mut self, field: &Field, value: Option<&Tree<'_>>) -> Option<()> {
        match (&field.shape, value) {
            (_, None) if field.holder != Holder::Value => Some(()),
            (Shape::List(element), Some(value)) if !is_wrapped_list(field) => self.list(field.tag, element, value),
            (Shape::Map(element), Some(value)) => self.map(field.tag, element, value),
            (shape, value) => self.value(field.tag, shape, value),
        }
    }

    fn list(&mut self, tag: u32, element: &Shape, list: &Tree<'_>) -> Option<()> {
        list.as_list()?.iter().rev().try_for_each(|value| self.value(tag, element, Some(value)))
    }

    /// Entries are messages of a key (1) and a value (2).
    fn map(&mut self, tag: u32, element: &Shape, map: &Tree<'_>) -> Option<()> {
        let mut entries: Vec<_> = map.as_map()?.iter().collect();
        entries.sort_unstable_by(|one, other| other.0.cmp(&one.0));
        for (key, value) in entries {
            let end = self.out.mark();
            self.value(2, element, Some(value))?;
            self.out.text(1, key.as_bytes());
            self.out.delimit(tag, end);
        }
        Some(())
    }

    /// One value as a field; the zero value of its shape where there is none.
    fn value(&mut self, tag: u32, shape: &Shape, value: Option<&Tree<'_>>) -> Option<()> {
        let value = value.filter(|value| !value.is_null());
        match shape {
            Shape::String => self.out.text(tag, value.map_or(Some(""), Tree::as_str)?.as_bytes()),
            Shape::Bool => self.out.number(tag, value.map_or(Some(false), Tree::as_bool)?.into()),
            Shape::Int32 | Shape::Int64 => self.out.number(tag, value.map_or(Some(0), Tree::as_i64)? as u64),
            Shape::Float64 => self.out.fixed64(tag, value.map_or(Some(0.0), Tree::as_f64)?.to_bits()),
            Shape::Bytes => {
                let bytes = STANDARD.decode(value.map_or(Some(""), Tree::as_str)?).ok()?;
                self.out.text(tag, &bytes);
            }
            Shape::Quantity => scalar::write_quantity(&mut self.out, tag, value)?,
            Shape::IntOrString => scalar::write_int_or_string(&mut self.out, tag, value)?,
            Shape::Time => scalar::write_time(&mut self.out, tag, value, false)?,
            Shape::MicroTime => scalar::write_time(&mut self.out, tag, value, true)?,
            Shape::Duration => scalar::write_duration(&mut self.out, tag, value)?,
            shape => {
                let end = self.out.mark();
                self.composed(shape, value)?;
                self.out.delimit(tag, end);
            }
        }
        Some(())
    }

    /// The message of what is more than a scalar.
    fn composed(&mut self, shape: &Shape, value: Option<&Tree<'_>>) -> Option<()> {
        match (shape, value) {
            (Shape::Message(id), value) => self.message(self.schema.get(*id), value.unwrap_or(&Tree::Map(Vec::new()))),
            (_, None) => Some(()),
            (Shape::Any, Some(value)) => {
                self.out.text(1, value.to_value().to_string().as_bytes());
                Some(())
            }
            // A list inside of a map is a message that has it as tag 1.
            (Shape::List(element), Some(value)) => self.list(1, element, value),
            (Shape::OneOf(shapes), Some(value)) => self.one_of(shapes, value),
            _ => None,
        }
    }

    /// A schema, or something simpler: the schema is tag 1 and the other tag 2, but of a boolean it is the other way
    /// round and the boolean is always there.
    fn one_of(&mut self, shapes: &[Shape], value: &Tree<'_>) -> Option<()> {
        let [schema, other] = shapes else { return None };
        match (other, value) {
            (Shape::Bool, Tree::Bool(allows)) => self.out.number(1, (*allows).into()),
            (Shape::Bool, value) => {
                self.value(2, schema, Some(value))?;
                self.out.number(1, 1);
            }
            (Shape::List(element), Tree::List(_)) => self.list(2, element, value)?,
            (_, value) => self.value(1, schema, Some(value))?,
        }
        Some(())
    }
}
