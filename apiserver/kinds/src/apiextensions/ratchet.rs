//! What is asked of a definition. Of one that changes less than of a new one: what the old one already did wrong may
//! stay wrong.

use api_machinery::{Value, object};

use crate::at::{child, is_empty, same};
use crate::cells;
use crate::list::{
    apiextensions_defaults as defaults, apiextensions_schema as schema, apiextensions_schema_rules as schema_rules,
};

pub(crate) struct Demands<'o> {
    old: &'o Value,
    /// Every version has a schema.
    pub(crate) schemas: bool,
    pub(crate) known_types: bool,
    /// Defaults have no fields that the schema does not know.
    pub(crate) pruned_defaults: bool,
    pub(crate) atomic_sets: bool,
    /// Keys of lists are there, and neither they nor items of maps and sets are null.
    pub(crate) sound_keys: bool,
    /// One of the versions of reviews is known.
    pub(crate) known_review_version: bool,
    /// The authority of a conversion webhook can be read.
    pub(crate) sound_authority: bool,
}

impl<'o> Demands<'o> {
    /// `old` is null for a new definition.
    pub(crate) fn of(old: &'o Value) -> Self {
        let schemas = || cells::list(old, "spec.versions").iter().map(|one| child(one, "schema.openAPIV3Schema"));
        let no_schema = |wrong: fn(&Value) -> bool| !schemas().any(|root| schema::any(root, &mut |one| wrong(one)));
        let webhook = child(old, "spec.conversion.webhook");
        let reviews = child(webhook, "conversionReviewVersions");
        let authority = object::str_at(webhook, "clientConfig.caBundle");
        Self {
            old,
            schemas: schemas().all(Value::is_object),
            known_types: no_schema(schema_rules::has_unknown_type),
            pruned_defaults: no_schema(defaults::has_unknown_fields),
            atomic_sets: no_schema(schema_rules::has_set_of_parts),
            sound_keys: no_schema(schema_rules::has_unsound_keys),
            known_review_version: is_empty(reviews) || knows_a_review(reviews),
            // Upstream takes any as long as the type is not served.
            sound_authority: old.is_object() && (authority.is_empty() || why_unsound(authority).is_none()),
        }
    }

    /// Whether these selectable fields of a version may be too many: they were before, and are the same.
    pub(crate) fn allow_too_many(&self, version: &Value, fields: &str) -> bool {
        let name = child(version, "name");
        let mut old = cells::list(self.old, "spec.versions").iter().filter(|one| child(one, "name") == name);
        old.any(|old| same(child(old, fields), child(version, fields)))
    }
}

/// Whether one of the versions of reviews is among those that the server sends.
pub(crate) fn knows_a_review(versions: &Value) -> bool {
    versions.as_array().into_iter().flatten().any(|version| matches!(version.as_str(), Some("v1" | "v1beta1")))
}

/// What is wrong with the certificates of an authority.
pub(crate) fn why_unsound(authority: &str) -> Option<String> {
    use api_machinery::certificates::{check_certificates, ends_at};
    let pem = crate::formats::base64(authority).unwrap_or_default();
    let why = check_certificates(&pem).err().filter(|_| ends_at(&pem).is_none())?;
    let has_block = pem.windows(BEGIN.len()).any(|part| part == BEGIN);
    let why = if has_block { format!("failed to parse certificate: {why}") } else { NOT_PEM.to_owned() };
    Some(format!("unable to load root certificates: {why}"))
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const NOT_PEM: &str = "unable to parse bytes as PEM block";
