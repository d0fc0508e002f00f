//! Every type: its kinds, its message, and that no tag is used again that upstream gave up.

use api_machinery::Value;
use api_schema::{Schema, Type};

use crate::report::{Report, Row, rows};
use crate::{EXCEPTIONS, folder};

/// A row's type; a difference where we have none of that name.
fn known<'a>(row: &'a Row, report: &mut Report) -> Option<(&'a str, &'static Type)> {
    let (name, schema) = (row.get("type"), Schema::builtin());
    report.row();
    let of = schema.type_named(name).map(|id| schema.get(id));
    if of.is_none() {
        report.differs(name, "there is no such type");
    }
    Some((name, of?))
}

#[test]
fn golden_types() {
    let Some(table) = folder::place("fields/_types.tsv") else { return };
    let mut report = Report::new("types", EXCEPTIONS);
    for row in rows(&table) {
        let Some((name, of)) = known(&row, &mut report) else { continue };
        let kinds = of.gvks.iter().map(|gvk| {
            let group = if gvk.group.is_empty() { "core" } else { &*gvk.group };
            format!("{group}/{}/{}", gvk.version, gvk.kind)
        });
        let own = if of.in_every_group { vec!["(meta".to_owned()] } else { kinds.collect() };
        // Of what is registered everywhere, only that is told.
        let wanted: Vec<String> =
            row.get("gvks").split(':').next().unwrap_or("").split(',').map(str::to_owned).collect();
        report.compare(name, "kinds", own, wanted.into_iter().filter(|kind| !kind.is_empty()).collect());
        report.compare(name, "message", of.proto.as_str(), row.get("proto_message"));
        report.compare(name, "map type", of.atomic, row.get("map_type") == "atomic");
        let unions = Some(row.get("unions")).filter(|text| !text.is_empty());
        let unions: Option<Value> = unions.map(|text| serde_json::from_str(text).expect("JSON"));
        report.compare(name, "unions", of.unions.as_ref(), unions.as_ref());
    }
    report.finish();
}

#[test]
fn golden_tag_gaps() {
    let Some(table) = folder::place("fields/_tag_gaps.tsv") else { return };
    let mut report = Report::new("tag gaps", EXCEPTIONS);
    for row in rows(&table) {
        let Some((name, of)) = known(&row, &mut report) else { continue };
        let inlined = of.inlined.iter().map(|(_, tag)| *tag);
        // Kind and apiVersion are in the envelope.
        let written = of.fields.iter().filter(|field| !field.nesting.is_empty() || field.embedded.is_empty());
        let own = written.map(|field| field.nesting.first().copied().unwrap_or(field.tag));
        let used: Vec<u32> = own.chain(inlined).filter(|tag| *tag > 0).collect();
        let most = row.get("max_tag").parse().expect("a number");
        report.compare(name, "the highest tag", used.iter().copied().max(), Some(most));
        let free: Vec<u32> = (1..most).filter(|tag| !used.contains(tag)).collect();
        let wanted = row.list("unused_tags_below_max").into_iter().map(|tag| tag.parse().expect("a number"));
        report.compare(name, "tags that are free", free, wanted.collect());
    }
    report.finish();
}
