//! Every field that upstream drops while a gate is off that is off by default: it is dropped here as well.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fields::tables_of_fields;
use crate::report::{Report, rows};
use crate::{EXCEPTIONS, folder};

#[test]
fn golden_gated_fields() {
    let (Some(folder), Some(gates)) = (folder::place("fields"), folder::place("featuregates.tsv")) else { return };
    let gates = rows(&gates);
    let off: Vec<&str> =
        gates.iter().filter(|row| row.get("default_1.36") == "false").map(|row| row.get("gate")).collect();
    let own = rows(&Path::new(env!("CARGO_MANIFEST_DIR")).join("facts/gatedfields.tsv"));
    let own: BTreeMap<String, &str> =
        own.iter().map(|row| (format!("{} {}", row.get("type"), row.get("field")), row.get("gate"))).collect();
    let mut report = Report::new("gated fields", EXCEPTIONS);
    for row in tables_of_fields(&folder).iter().flat_map(|table| rows(table)) {
        let needed = row.list("gate");
        if !needed.iter().any(|gate| off.contains(gate)) {
            continue;
        }
        report.row();
        let at = format!("{} {}", row.get("type"), row.get("json"));
        report.compare(&at, "dropped without its gate", own.get(&at).is_some_and(|gate| needed.contains(gate)), true);
    }
    report.finish();
}
