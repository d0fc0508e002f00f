//! Parts of a definition as messages show them: in JSON, under the names that upstream's internal types have.

use api_machinery::quote::json_quoted;
use api_machinery::{ErrorList, Path, Value};

use crate::at::{child, is_empty};

/// Bytes of one value that is shown. Small schemas are long when every unset field is written.
const MAX_SHOWN: usize = 1 << 20;

/// How a field is written.
#[derive(Clone, Copy)]
enum Form {
    /// Never null: `""`, `false` and `0` where they are unset.
    Text,
    Flag,
    Count,
    /// As it is, null where it is unset.
    Any,
    Schema,
    Schemas,
    SchemaMap,
    SchemaOrSchemas,
    SchemaOrFlag,
    SchemaOrTexts,
    One(&'static [Field]),
    Many(&'static [Field]),
}

/// Its name in Go, its name in JSON, its form.
type Field = (&'static str, &'static str, Form);

static SCHEMA: [Field; 44] = [
    ("ID", "id", Form::Text),
    ("Schema", "$schema", Form::Text),
    ("Ref", "$ref", Form::Any),
    ("Description", "description", Form::Text),
    ("Type", "type", Form::Text),
    ("Nullable", "nullable", Form::Flag),
    ("Format", "format", Form::Text),
    ("Title", "title", Form::Text),
    ("Default", "default", Form::Any),
    ("Maximum", "maximum", Form::Any),
    ("ExclusiveMaximum", "exclusiveMaximum", Form::Flag),
    ("Minimum", "minimum", Form::Any),
    ("ExclusiveMinimum", "exclusiveMinimum", Form::Flag),
    ("MaxLength", "maxLength", Form::Any),
    ("MinLength", "minLength", Form::Any),
    ("Pattern", "pattern", Form::Text),
    ("MaxItems", "maxItems", Form::Any),
    ("MinItems", "minItems", Form::Any),
    ("UniqueItems", "uniqueItems", Form::Flag),
    ("MultipleOf", "multipleOf", Form::Any),
    ("Enum", "enum", Form::Any),
    ("MaxProperties", "maxProperties", Form::Any),
    ("MinProperties", "minProperties", Form::Any),
    ("Required", "required", Form::Any),
    ("Items", "items", Form::SchemaOrSchemas),
    ("AllOf", "allOf", Form::Schemas),
    ("OneOf", "oneOf", Form::Schemas),
    ("AnyOf", "anyOf", Form::Schemas),
    ("Not", "not", Form::Schema),
    ("Properties", "properties", Form::SchemaMap),
    ("AdditionalProperties", "additionalProperties", Form::SchemaOrFlag),
    ("PatternProperties", "patternProperties", Form::SchemaMap),
    ("Dependencies", "dependencies", Form::SchemaOrTexts),
    ("AdditionalItems", "additionalItems", Form::SchemaOrFlag),
    ("Definitions", "definitions", Form::SchemaMap),
    ("ExternalDocs", "externalDocs", Form::One(&DOCS)),
    ("Example", "example", Form::Any),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", Form::Any),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", Form::Flag),
    ("XIntOrString", "x-kubernetes-int-or-string", Form::Flag),
    ("XListMapKeys", "x-kubernetes-list-map-keys", Form::Any),
    ("XListType", "x-kubernetes-list-type", Form::Any),
    ("XMapType", "x-kubernetes-map-type", Form::Any),
    ("XValidations", "x-kubernetes-validations", Form::Many(&RULE)),
];

static DOCS: [Field; 2] = [("Description", "description", Form::Text), ("URL", "url", Form::Text)];

static RULE: [Field; 6] = [
    ("Rule", "rule", Form::Text),
    ("Message", "message", Form::Text),
    ("MessageExpression", "messageExpression", Form::Text),
    ("Reason", "reason", Form::Any),
    ("FieldPath", "fieldPath", Form::Text),
    ("OptionalOldSelf", "optionalOldSelf", Form::Any),
];

static VERSION: [Field; 9] = [
    ("Name", "name", Form::Text),
    ("Served", "served", Form::Flag),
    ("Storage", "storage", Form::Flag),
    ("Deprecated", "deprecated", Form::Flag),
    ("DeprecationWarning", "deprecationWarning", Form::Any),
    ("Schema", "schema", Form::One(&VALIDATION)),
    ("Subresources", "subresources", Form::One(&SUBRESOURCES)),
    ("AdditionalPrinterColumns", "additionalPrinterColumns", Form::Many(&COLUMN)),
    ("SelectableFields", "selectableFields", Form::Many(&SELECTABLE)),
];

static VALIDATION: [Field; 1] = [("OpenAPIV3Schema", "openAPIV3Schema", Form::Schema)];

static SUBRESOURCES: [Field; 2] = [("Status", "status", Form::One(&[])), ("Scale", "scale", Form::One(&SCALE))];

static SCALE: [Field; 3] = [
    ("SpecReplicasPath", "specReplicasPath", Form::Text),
    ("StatusReplicasPath", "statusReplicasPath", Form::Text),
    ("LabelSelectorPath", "labelSelectorPath", Form::Any),
];

static COLUMN: [Field; 6] = [
    ("Name", "name", Form::Text),
    ("Type", "type", Form::Text),
    ("Format", "format", Form::Text),
    ("Description", "description", Form::Text),
    ("Priority", "priority", Form::Count),
    ("JSONPath", "jsonPath", Form::Text),
];

static SELECTABLE: [Field; 1] = [("JSONPath", "jsonPath", Form::Text)];

/// `Invalid value` of what is shown in such a form.
pub(crate) fn invalid(path: &Path, shown: &str, detail: &str, errors: &mut ErrorList) {
    errors.invalid_omitted(path, &format!("{shown}: {detail}"));
}

/// What a pointer to a plain value is shown as.
pub(crate) fn plain(value: &Value) -> String {
    text_of(value, Form::Any)
}

pub(crate) fn schema(value: &Value) -> String {
    text_of(value, Form::Schema)
}

pub(crate) fn items(value: &Value) -> String {
    text_of(value, Form::SchemaOrSchemas)
}

pub(crate) fn rule(value: &Value) -> String {
    text_of(value, Form::One(&RULE))
}

/// Versions without the parts that all of them have in common.
pub(crate) fn versions(value: &Value, shared: &[&str]) -> String {
    let mut versions = value.clone();
    for version in versions.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        version.retain(|part, _| !shared.contains(&part.as_str()));
    }
    text_of(&versions, Form::Many(&VERSION))
}

/// The Go names of the fields that a schema sets, in upstream's order.
pub(crate) fn set_fields(schema: &Value) -> impl Iterator<Item = &'static str> + '_ {
    let is_set = |value: &Value, form: Form| match form {
        Form::Text => !is_empty(value),
        Form::Flag => value == &Value::Bool(true),
        _ => !value.is_null(),
    };
    SCHEMA.iter().filter(move |(_, json, form)| is_set(child(schema, json), *form)).map(|(name, ..)| *name)
}

fn text_of(value: &Value, form: Form) -> String {
    let mut writer = Writer { text: String::new() };
    writer.value(value, form);
    writer.text
}

struct Writer {
    text: String,
}

impl Writer {
    fn value(&mut self, value: &Value, form: Form) {
        if self.text.len() > MAX_SHOWN {
            return;
        }
        match (form, value) {
            (Form::Text, Value::Null) => self.text.push_str("\"\""),
            (Form::Flag, Value::Null) => self.text.push_str("false"),
            (Form::Count, Value::Null) => self.text.push('0'),
            (_, Value::Null) => self.text.push_str("null"),
            (Form::Schema, _) => self.fields(value, &SCHEMA),
            (Form::One(fields), _) => self.fields(value, fields),
            (Form::Schemas, _) => self.list(value, Form::Schema),
            (Form::Many(fields), _) => self.list(value, Form::One(fields)),
            (Form::SchemaMap, _) => self.map(value, Form::Schema),
            (Form::SchemaOrSchemas, Value::Array(_)) => {
                self.pair(("Schema", &Value::Null, Form::Any), ("JSONSchemas", value, Form::Schemas));
            }
            (Form::SchemaOrSchemas, _) => {
                self.pair(("Schema", value, Form::Schema), ("JSONSchemas", &Value::Null, Form::Any));
            }
            (Form::SchemaOrFlag, Value::Bool(_)) => {
                self.pair(("Allows", value, Form::Any), ("Schema", &Value::Null, Form::Any));
            }
            (Form::SchemaOrFlag, _) => {
                self.pair(("Allows", &Value::Bool(true), Form::Any), ("Schema", value, Form::Schema));
            }
            (Form::SchemaOrTexts, _) => self.dependencies(value),
            (Form::Text | Form::Flag | Form::Count | Form::Any, _) => self.any(value),
        }
    }

    fn fields(&mut self, value: &Value, fields: &[Field]) {
        self.text.push('{');
        for (index, (name, json, form)) in fields.iter().enumerate() {
            self.name(index, name);
            self.value(child(value, json), *form);
        }
        self.text.push('}');
    }

    fn pair(&mut self, first: (&str, &Value, Form), second: (&str, &Value, Form)) {
        self.text.push('{');
        for (index, (name, value, form)) in [first, second].into_iter().enumerate() {
            self.name(index, name);
            self.value(value, form);
        }
        self.text.push('}');
    }

    fn dependencies(&mut self, value: &Value) {
        self.text.push('{');
        for (index, (name, value)) in value.as_object().into_iter().flatten().enumerate() {
            self.name(index, name);
            if value.is_array() {
                self.pair(("Schema", &Value::Null, Form::Any), ("Property", value, Form::Any));
            } else {
                self.pair(("Schema", value, Form::Schema), ("Property", &Value::Null, Form::Any));
            }
        }
        self.text.push('}');
    }

    fn list(&mut self, value: &Value, form: Form) {
        self.text.push('[');
        for (index, one) in value.as_array().into_iter().flatten().enumerate() {
            self.comma(index);
            self.value(one, form);
        }
        self.text.push(']');
    }

    fn map(&mut self, value: &Value, form: Form) {
        self.text.push('{');
        for (index, (name, one)) in value.as_object().into_iter().flatten().enumerate() {
            self.name(index, name);
            self.value(one, form);
        }
        self.text.push('}');
    }

    fn any(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text.push_str(&json_quoted(text)),
            Value::Array(_) => self.list(value, Form::Any),
            Value::Object(_) => self.map(value, Form::Any),
            Value::Number(number) => self.text.push_str(&go_number(number)),
            Value::Null | Value::Bool(_) => self.text.push_str(&value.to_string()),
        }
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
    }

    fn name(&mut self, index: usize, name: &str) {
        self.comma(index);
        self.text.push_str(&json_quoted(name));
        self.text.push(':');
    }
}

/// A number as Go prints it: without a fraction where there is none.
pub(crate) fn go_number(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(real) if !number.is_i64() && !number.is_u64() => go_float(real),
        _ => number.to_string(),
    }
}

pub(crate) fn go_float(real: f64) -> String {
    /// Numbers from here on have an exponent.
    const LARGE: f64 = 1e21;
    if real.fract() == 0.0 && real.abs() < LARGE { format!("{real:.0}") } else { format!("{real}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn names_are_those_of_go_and_unset_fields_are_written() {
        assert_eq!(
            super::rule(&json!({"rule": "self.a < 1 && true"})),
            "{\"Rule\":\"self.a \\u003c 1 \\u0026\\u0026 true\",\"Message\":\"\",\"MessageExpression\":\"\",\
             \"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}"
        );
        assert_eq!(
            super::versions(&json!([{"name": "v1", "served": true, "storage": false, "schema": {}}]), &["schema"]),
            "[{\"Name\":\"v1\",\"Served\":true,\"Storage\":false,\"Deprecated\":false,\"DeprecationWarning\":null,\
             \"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}]"
        );
    }

    #[test]
    fn set_fields_are_in_order() {
        let schema = json!({"type": "object", "id": "", "nullable": false, "maxProperties": 0, "allOf": []});
        assert_eq!(super::set_fields(&schema).collect::<Vec<_>>(), ["Type", "MaxProperties", "AllOf"]);
    }
}
