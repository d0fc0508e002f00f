//! A patch as it came, and what it makes of an object: the same strictness as for whole bodies, in the words that
//! upstream has for patches.

use api_codec::decode::{self, FieldValidation};
use api_codec::go_text;
use api_codec::patch::{self, PatchKind};
use api_machinery::{ApiError, ErrorList, GroupKind, GroupVersionKind, Path, Value};
use api_schema::{Schema, TypeId};

use crate::body::{self, Incoming};
use crate::{Body, aside};

/// Of an object that is refused, so much is shown.
const MAX_SHOWN_BYTES: usize = 64 * 1024;

pub(crate) struct Patch {
    kind: PatchKind,
    patch: Value,
    /// What strict reading found in the patch itself.
    findings: Vec<String>,
}

impl Patch {
    pub(crate) fn read(kind: PatchKind, body: Body) -> Result<Self, ApiError> {
        let (patch, mut findings) = body::parse(body)?;
        if kind == PatchKind::Json {
            findings.extend(patch::unknown_members(&patch));
            findings.iter_mut().for_each(|finding| finding.insert_str(0, "json patch "));
        }
        Ok(Self { kind, patch, findings })
    }

    /// The patched object, conformed, not defaulted.
    pub(crate) fn apply(
        &self,
        schema: &Schema,
        type_id: TypeId,
        expected: &GroupVersionKind,
        current: &Value,
        validation: FieldValidation,
    ) -> Result<Incoming, ApiError> {
        aside::on_value(&self.patch, || self.applied(schema, type_id, expected, current, validation))
    }

    fn applied(
        &self,
        schema: &Schema,
        type_id: TypeId,
        expected: &GroupVersionKind,
        current: &Value,
        validation: FieldValidation,
    ) -> Result<Incoming, ApiError> {
        let patched = || patch::apply(schema, type_id, self.kind, &self.patch, current);
        let mut value = patched()?;
        body::claim_type(&mut value, expected)?;
        match decode::check(schema, type_id, &mut value, self.findings.clone(), validation) {
            Ok(checked) => Ok(Incoming { value, warnings: checked.warnings }),
            Err(why) => Err(self.refused(expected, &patched()?, &why)),
        }
    }

    /// 422, showing what upstream's decoder had in its hands; but of secrets, which upstream shows, too: refusals are
    /// written into logs.
    fn refused(&self, expected: &GroupVersionKind, patched: &Value, why: &str) -> ApiError {
        let mut shown = match self.kind {
            _ if expected.group.is_empty() && &*expected.kind == "Secret" => "<secret contents redacted>".to_owned(),
            PatchKind::Json | PatchKind::Merge => patched.to_string(),
            PatchKind::Strategic => go_text::plain(&self.patch),
        };
        shown.truncate(shown.floor_char_boundary(MAX_SHOWN_BYTES));
        let mut errors = ErrorList::new();
        errors.invalid(&Path::new("patch"), &shown.into(), why);
        ApiError::invalid(&GroupKind { group: "".into(), kind: "".into() }, "", errors)
    }
}
