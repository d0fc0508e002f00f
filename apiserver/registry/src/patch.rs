//! A patch as it came, and what it makes of an object: the same strictness as for whole bodies, in the words that
//! upstream has for patches.

use api_codec::decode::{self, FieldValidation, Parsed};
use api_codec::patch::{self, PatchKind};
use api_machinery::{ApiError, ErrorList, GroupKind, GroupVersionKind, Path, Value, object};
use api_schema::{Schema, TypeId};

use crate::scope::Scope;
use crate::{Body, aside, body, metadata};

/// Of an object that is refused, so much is shown.
const MAX_SHOWN_BYTES: usize = 64 * 1024;

pub(crate) struct Patch {
    kind: PatchKind,
    /// What cannot be read is refused only where there is an object to be patched.
    content: Result<Content, ApiError>,
}

struct Content {
    patch: Value,
    /// What strict reading found in the patch itself.
    findings: Vec<String>,
}

impl Content {
    fn read(kind: PatchKind, body: Body, validation: FieldValidation) -> Result<Self, ApiError> {
        let Parsed { value: patch, duplicates: mut findings } = match body {
            Body::Value(value) => Parsed { value, duplicates: Vec::new() },
            Body::Bytes { bytes, .. } => aside::on_bytes(bytes.len(), || patch::read(kind, &bytes, validation))?,
        };
        if kind == PatchKind::Json {
            findings.extend(patch::unknown_members(&patch));
            findings.iter_mut().for_each(|finding| finding.insert_str(0, "json patch "));
        }
        Ok(Self { patch, findings })
    }
}

impl Patch {
    pub(crate) fn read(kind: PatchKind, body: Body, validation: FieldValidation) -> Self {
        Self { kind, content: Content::read(kind, body, validation) }
    }

    /// The patched object, conformed, not defaulted, where the path says that it is.
    pub(crate) fn apply(
        &self,
        schema: &Schema,
        scope: &Scope<'_>,
        type_id: TypeId,
        expected: &GroupVersionKind,
        current: &Value,
    ) -> Result<Value, ApiError> {
        let content = self.content.as_ref().map_err(ApiError::clone)?;
        let work = || self.applied(content, schema, scope, type_id, expected, current);
        let mut value = aside::on_value(&content.patch, work)?;
        metadata::settle_namespace(&mut value, scope.namespace)?;
        metadata::check_name(&value, scope.name)?;
        Ok(value)
    }

    fn applied(
        &self,
        content: &Content,
        schema: &Schema,
        scope: &Scope<'_>,
        type_id: TypeId,
        expected: &GroupVersionKind,
        current: &Value,
    ) -> Result<Value, ApiError> {
        let patched = || patch::apply(schema, type_id, self.kind, &content.patch, current);
        let (mut value, findings) = (patched()?, content.findings.clone());
        let validation = scope.info.field_validation;
        let checked = match self.kind {
            // What it says of its type does not matter there.
            PatchKind::Strategic => decode::check_merged(schema, type_id, &mut value, findings, validation),
            PatchKind::Json | PatchKind::Merge => match wrong_type(&value, expected) {
                Some(why) => Err(why),
                None => decode::check(schema, type_id, &mut value, findings, validation),
            },
        };
        match checked {
            Ok(checked) => {
                scope.warn(checked.warnings);
                body::set_type(&mut value, expected);
                Ok(value)
            }
            Err(why) => {
                let shown = patch::shown(schema, type_id, self.kind, &content.patch, current, &patched()?);
                Err(refused(expected, shown, &why))
            }
        }
    }
}

/// What is wrong with the `apiVersion` and `kind` of a patched object.
fn wrong_type(value: &Value, expected: &GroupVersionKind) -> Option<String> {
    if let Some(why) = decode::no_kind(value) {
        return Some(why);
    }
    let (given, wanted) = (object::str_at(value, "apiVersion"), body::api_version(expected));
    let version = if given.is_empty() { wanted.as_str() } else { given };
    let kind = Some(object::str_at(value, "kind")).filter(|kind| !kind.is_empty()).unwrap_or(&expected.kind);
    (version != wanted || kind != &*expected.kind).then(|| body::not_served(kind, version))
}

/// 422, showing what upstream's decoder had in its hands; but of secrets, which upstream shows, too: refusals are
/// written into logs.
fn refused(expected: &GroupVersionKind, mut shown: String, why: &str) -> ApiError {
    if expected.group.is_empty() && &*expected.kind == "Secret" {
        shown = "<secret contents redacted>".to_owned();
    }
    shown.truncate(shown.floor_char_boundary(MAX_SHOWN_BYTES));
    let mut errors = ErrorList::new();
    errors.invalid(&Path::new("patch"), &shown.into(), why);
    ApiError::invalid(&GroupKind { group: "".into(), kind: "".into() }, "", errors)
}
