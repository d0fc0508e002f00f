//! Enums, what updates may do, and feature gates.

use std::collections::BTreeSet;

use api_schema::{Resource, Schema, Strategy};

use crate::report::{Report, Row, rows};
use crate::{EXCEPTIONS, folder};

#[test]
fn golden_enums() {
    let Some(table) = folder::place("enums.tsv") else { return };
    let mut report = Report::new("enums", EXCEPTIONS);
    for row in rows(&table) {
        let name = format!("{}.{}", row.get("package"), row.get("type"));
        report.row();
        let Some(own) = Schema::builtin().enumeration(&name) else {
            report.differs(&name, "there is no such enum");
            continue;
        };
        report.compare(&name, "closed", own.closed, row.get("closed_enum") == "yes");
        let values: Vec<&str> = own.values.iter().map(String::as_str).collect();
        report.compare(&name, "values", values, row.list("values"));
    }
    report.finish();
}

#[test]
fn golden_feature_gates() {
    let Some(table) = folder::place("featuregates.tsv") else { return };
    let mut report = Report::new("feature gates", EXCEPTIONS);
    let gates = Schema::builtin().gates();
    let mut unknown: BTreeSet<&str> = gates.all().map(|(name, _, _)| name).collect();
    let table = rows(&table);
    for row in &table {
        let name = row.get("gate");
        report.row();
        unknown.remove(name);
        let Some((_, stage, on)) = gates.all().find(|(own, _, _)| *own == name) else {
            report.differs(name, "there is no such gate");
            continue;
        };
        let wanted = match row.get("stage_1.36") {
            "GA" => String::new(),
            stage => stage.to_uppercase(),
        };
        report.compare(name, "stage", stage, wanted.as_str());
        report.compare(name, "default", on, row.get("default_1.36") == "true");
        compare_setting(&mut report, name, row);
    }
    unknown.into_iter().for_each(|name| report.differs(name, "upstream has no such gate"));
    report.finish();
}

/// What is locked cannot be set to anything but its default, which upstream says in its words.
fn compare_setting(report: &mut Report, name: &str, row: &Row) {
    let other = row.get("default_1.36") != "true";
    let refusal = Schema::check("", &format!("{name}={other}")).err().unwrap_or_default();
    let locked = refusal.ends_with(&format!("feature is locked to {}", !other));
    report.compare(name, "locked", locked, row.get("locked") == "true");
    let default = Schema::check("", &format!("{name}={}", !other));
    report.compare(name, "set to its default", default.is_ok(), true);
}

/// Of every version, with the gates that whole kinds need.
fn everything() -> Schema {
    let gates = ["ClusterTrustBundle", "GenericWorkload", "PodCertificateRequest", "StorageVersionMigrator"];
    let on = gates.map(|gate| format!("{gate}=true")).into_iter().filter(|gate| Schema::check("", gate).is_ok());
    Schema::serving("api/all=true", &on.collect::<Vec<_>>().join(",")).expect("it can be served")
}

/// The resource of upstream's folder of a registry: `core/pod`.
fn resource<'a>(schema: &'a Schema, registry: &str) -> Option<&'a Resource> {
    let (group, name) = registry.split_once('/')?;
    let name = match (group, name) {
        ("certificates", "certificates") => "certificatesigningrequest",
        ("core", "endpoint") => "endpoints",
        ("storagemigration", "storagemigration") => "storageversionmigration",
        _ => name,
    };
    let of_group = |one: &&Resource| match group {
        "core" => one.gv.group.is_empty(),
        "apiserverinternal" => one.gv.group.starts_with("internal."),
        _ => one.gv.group.split('.').next() == Some(group),
    };
    schema.resources().iter().filter(of_group).find(|one| one.singular == name)
}

#[test]
fn golden_strategies() {
    let Some(table) = folder::place("strategies.tsv") else { return };
    let mut report = Report::new("strategies", EXCEPTIONS);
    let schema = everything();
    let mut not_served = BTreeSet::new();
    for row in rows(&table) {
        let registry = row.get("registry");
        let Some(resource) = resource(&schema, registry) else {
            not_served.insert(registry.to_owned());
            continue;
        };
        report.row();
        let own = schema.strategy(&resource.group_resource());
        compare_strategy(&mut report, &format!("{registry} {}", row.get("strategy")), (resource, own), &row);
    }
    println!("golden strategies: not here: {not_served:?}");
    report.finish();
}

fn compare_strategy(report: &mut Report, at: &str, (resource, own): (&Resource, Option<&Strategy>), row: &Row) {
    let Some(own) = own else { return report.differs(at, "there is no such strategy") };
    let of_status = row.get("strategy").to_lowercase().ends_with("statusstrategy");
    let of_part = !row.get("embeds").is_empty();
    if !of_part && !of_status {
        report.compare(at, "namespaced", resource.namespaced, row.get("namespaced") == "true");
        report.compare(at, "create on update", own.create_on_update, row.get("allow_create_on_update") == "true");
        let unconditional = row.get("allow_unconditional_update") == "true";
        report.compare(at, "unconditional update", own.unconditional_update, unconditional);
    }
    // Of parts other than the status, what they reset is with those who write them.
    let reset = if of_status { &own.reset_on_status } else { &own.reset_on_main };
    let own: BTreeSet<&str> = reset.iter().map(String::as_str).collect();
    report.compare(at, "resets", own, resets(row.get("reset_fields(version:paths)"), &resource.gv.to_string()));
}

/// The fields of one version: `batch/v1:spec+metadata;batch/v1beta1:...`
fn resets<'a>(text: &'a str, version: &str) -> BTreeSet<&'a str> {
    let of_version = text.split(';').filter_map(|one| one.rsplit_once(':')).find(|(of, _)| *of == version);
    let paths = of_version.map_or(text, |(_, paths)| paths);
    paths.split('+').filter(|path| !path.is_empty()).collect()
}

/// The place of each version in its group, and what aggregation orders them by.
#[test]
fn golden_groups() {
    let Some(table) = folder::place("groups.tsv") else { return };
    let mut report = Report::new("groups", EXCEPTIONS);
    let (schema, usual) = (everything(), Schema::builtin());
    for row in rows(&table) {
        let (group, version) = (row.get("group").trim_start_matches("core"), row.get("version"));
        let at = format!("{group}/{version}");
        report.row();
        let versions = |schema: &Schema| -> Vec<String> {
            let found = schema.groups().iter().find(|one| one.name == group);
            found.map(|one| one.versions.clone()).unwrap_or_default()
        };
        let place = versions(&schema).iter().position(|own| own == version).map(|place| (place + 1).to_string());
        report.compare(&at, "place", place.as_deref(), Some(row.get("order_in_group")));
        report.compare(&at, "preferred", place.as_deref() == Some("1"), row.get("preferred") == "yes");
        report.compare(&at, "by default", versions(usual).iter().any(|own| own == version), row.get("default") == "on");
        let number = |column: &str| row.get(column).parse::<u32>().ok();
        let wanted = number("apiservice_groupPriorityMinimum").zip(number("apiservice_versionPriority"));
        report.compare(&at, "priorities", schema.aggregation_priorities(group, version), wanted);
    }
    report.finish();
}
