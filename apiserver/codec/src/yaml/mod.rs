//! Values as YAML, byte for byte as upstream writes them: in blocks, indented by two, keys in natural order, texts
//! folded at the first space behind column 80.

mod keys;
mod meaning;
mod text;

use api_machinery::Value;
use serde_json::{Map, Number};

/// Spaces of one level.
const STEP: usize = 2;

/// A document.
pub fn to_string(value: &Value) -> String {
    let mut writer = Writer::default();
    match value {
        Value::Object(map) if !map.is_empty() => writer.map(map, 0, false),
        Value::Array(list) if !list.is_empty() => writer.list(list, 0, false),
        leaf => writer.leaf(leaf, STEP),
    }
    writer.end()
}

/// One element of a list that is a field of the document's root: the lines from its dash on.
pub fn list_item(value: &Value) -> String {
    let mut writer = Writer::default();
    writer.item(value, 0);
    writer.end()
}

#[derive(Default)]
struct Writer {
    out: String,
    /// Characters in the last line.
    column: usize,
}

impl Writer {
    fn put(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    fn line_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn indent(&mut self, to: usize) {
        while self.column < to {
            self.put(' ');
        }
    }

    /// To the place of an entry, in a line of its own unless it continues the last one.
    fn at(&mut self, indent: usize, continues: bool) {
        if !continues && self.column > 0 {
            self.line_break();
        }
        self.indent(indent);
    }

    fn end(mut self) -> String {
        if self.column > 0 {
            self.line_break();
        }
        self.out
    }

    /// One that is not empty. `continues`: its first entry stands in the line that is begun.
    fn map(&mut self, map: &Map<String, Value>, indent: usize, continues: bool) {
        for (index, key) in keys::sorted(map).into_iter().enumerate() {
            self.at(indent, continues && index == 0);
            self.entry(key, &map[key], indent);
        }
    }

    fn entry(&mut self, key: &str, value: &Value, indent: usize) {
        let simple = text::is_simple_key(key);
        if simple {
            self.text(key, None);
        } else {
            self.put('?');
            self.put(' ');
            self.text(key, Some(indent + STEP));
            self.at(indent, false);
        }
        self.put(':');
        match value {
            Value::Object(map) if !map.is_empty() => self.map(map, indent + STEP, !simple),
            // Not further in than the key, where it has a line to itself.
            Value::Array(list) if !list.is_empty() && simple => self.list(list, indent, false),
            Value::Array(list) if !list.is_empty() => self.list(list, indent + STEP, true),
            leaf => {
                self.put(' ');
                self.leaf(leaf, indent + STEP);
            }
        }
    }

    /// One that is not empty.
    fn list(&mut self, list: &[Value], indent: usize, continues: bool) {
        for (index, value) in list.iter().enumerate() {
            self.at(indent, continues && index == 0);
            self.item(value, indent);
        }
    }

    fn item(&mut self, value: &Value, indent: usize) {
        self.put('-');
        match value {
            Value::Object(map) if !map.is_empty() => self.map(map, indent + STEP, true),
            Value::Array(list) if !list.is_empty() => self.list(list, indent + STEP, true),
            leaf => {
                self.put(' ');
                self.leaf(leaf, indent + STEP);
            }
        }
    }

    /// What has nothing in it; `indent` is that of further lines.
    fn leaf(&mut self, value: &Value, indent: usize) {
        match value {
            Value::String(text) => self.text(text, Some(indent)),
            Value::Number(number) => self.bare(&in_go(number)),
            Value::Bool(flag) => self.bare(if *flag { "true" } else { "false" }),
            Value::Null => self.bare("null"),
            Value::Array(_) => self.bare("[]"),
            Value::Object(_) => self.bare("{}"),
        }
    }

    fn bare(&mut self, word: &str) {
        word.chars().for_each(|character| self.put(character));
    }
}

/// A number as Go has it in YAML: what is whole in JSON is an integer.
fn in_go(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => go_float(float),
        _ => number.to_string(),
    }
}

/// Whole ones that JSON spells out are read as integers; others are in Go's shortest form.
fn go_float(float: f64) -> String {
    let integers = -9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0;
    if float.fract() == 0.0 && integers.contains(&float) {
        return format!("{}", float as i128);
    }
    let shortest = format!("{float:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{float}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks() {
        let value = json!({"b": {"c": [], "d": {}, "e": null}, "a": [1, "x", {"k": true, "l": [2]}, [3, [4]], []]});
        let wanted = "a:\n- 1\n- x\n- k: true\n  l:\n  - 2\n- - 3\n  - - 4\n- []\nb:\n  c: []\n  d: {}\n  e: null\n";
        assert_eq!(to_string(&value), wanted);
        assert_eq!(to_string(&json!({})), "{}\n");
        assert_eq!(list_item(&json!({"a": "b\nc\n", "d": [{}]})), "- a: |\n    b\n    c\n  d:\n  - {}\n");
        let long = "k".repeat(129);
        let keyed = json!({&long: {"x": [1], "y": 2}, "z": {&long: [1, 2]}});
        let wanted = format!("? {long}\n: x:\n  - 1\n  \"y\": 2\nz:\n  ? {long}\n  : - 1\n    - 2\n");
        assert_eq!(to_string(&keyed), wanted);
    }

    #[test]
    fn numbers() {
        for (number, wanted) in [
            (json!(0), "0"),
            (json!(-7), "-7"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(1.5), "1.5"),
            (json!(2.0), "2"),
            (json!(-2.0), "-2"),
            (json!(0.00001), "1e-05"),
            (json!(0.0001), "0.0001"),
            (json!(1e20), "1e+20"),
            (json!(1e300), "1e+300"),
            (json!(1_234_567.5), "1.2345675e+06"),
        ] {
            assert_eq!(to_string(&number).trim_end(), wanted);
        }
    }
}
