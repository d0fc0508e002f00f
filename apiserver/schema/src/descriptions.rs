//! What types and fields are for, in words, which `kubectl explain` prints. Only OpenAPI documents are made of them:
//! they are kept apart from the [`Schema`] that every request reads, and parsed when the first document is written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use crate::{Field, Schema, Shape, Type, build, facts};

/// Texts of types and fields, by names without version: all versions of a group share them.
#[derive(Debug, Default)]
pub struct Descriptions {
    /// `core.Pod`, `core.Pod.spec`
    texts: HashMap<String, &'static str>,
    /// Types whose fields mean what those of another type mean.
    alike: HashMap<String, String>,
}

impl Descriptions {
    /// The compiled-in ones, parsed on first use.
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Descriptions> = OnceLock::new();
        BUILTIN.get_or_init(Self::read)
    }

    fn read() -> Self {
        let mut all = Self::default();
        for (group, table) in facts::DESCRIPTIONS {
            for line in build::lines(table) {
                let (name, text) = (line.text(0), line.text(1));
                match name.strip_suffix(".*") {
                    Some(own) => drop(all.alike.insert(format!("{group}.{own}"), with_group(group, text))),
                    None => drop(all.texts.insert(format!("{group}.{name}"), text)),
                }
            }
        }
        all
    }

    fn get(&self, name: &str) -> Option<&'static str> {
        self.texts.get(name).copied()
    }

    pub fn of_type(&self, schema: &Schema, one: &Type) -> Option<Cow<'static, str>> {
        let own = self.get(&unversioned(&one.name)).map(Cow::Borrowed);
        own.or_else(|| self.of_list(schema, one, "*List"))
    }

    pub fn of_field(&self, schema: &Schema, one: &Type, field: &Field) -> Option<Cow<'static, str>> {
        let json = field.json.as_str();
        let own = self.own(schema, one, json).map(Cow::Borrowed);
        own.or_else(|| self.of_list(schema, one, &format!("*List.{json}")))
            .or_else(|| self.get(&format!("shared.{json}")).map(Cow::Borrowed))
    }

    /// What OpenAPI defines and is no type here: `Time`, or `Info.major`.
    pub fn of_special(&self, name: &str) -> Option<&'static str> {
        self.get(&format!("special.{name}"))
    }

    /// The text of a field of this very type, or of the inlined type that it comes from.
    fn own(&self, schema: &Schema, one: &Type, field: &str) -> Option<&'static str> {
        let inlined = || one.inlined.iter().find_map(|(id, _)| self.own(schema, schema.get(*id), field));
        self.of_name(&unversioned(&one.name), field).or_else(inlined)
    }

    fn of_name(&self, name: &str, field: &str) -> Option<&'static str> {
        self.get(&format!("{name}.{field}")).or_else(|| self.of_name(self.alike.get(name)?, field))
    }

    /// What is the same for the lists of all kinds.
    fn of_list(&self, schema: &Schema, one: &Type, what: &str) -> Option<Cow<'static, str>> {
        let text = self.get(&format!("shared.{what}"))?;
        Some(text.replace("{}", listed(schema, one)?).into())
    }
}

/// `core.v1.PodSpec` -> `core.PodSpec`
fn unversioned(name: &str) -> String {
    let (group, rest) = name.split_once('.').unwrap_or(("", name));
    with_group(group, rest.rsplit('.').next().unwrap_or(rest))
}

fn with_group(group: &str, name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{group}.{name}") }
}

/// The kind that a list kind lists: `Pod` of `PodList`.
fn listed<'a>(schema: &'a Schema, one: &Type) -> Option<&'a str> {
    let Shape::List(element) = &one.field("items")?.shape else { return None };
    let Shape::Message(id) = **element else { return None };
    let element = schema.get(id);
    (one.name.strip_suffix("List") == Some(&element.name)).then(|| element.short_name())
}
