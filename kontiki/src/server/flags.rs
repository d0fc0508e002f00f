//! What `/flagz` shows of a replica: its configuration, as flags and file have made it, under the file's names.

use serde_json::Value;

use crate::Failure;
use crate::config::ServerConfiguration;

/// Every field, nested ones with dots. No field of the configuration holds a secret, only names of files that do.
pub(super) fn of(config: &ServerConfiguration) -> Result<Vec<(String, String)>, Failure> {
    let mut flags = Vec::new();
    flatten("", &serde_json::to_value(config)?, &mut flags);
    Ok(flags)
}

fn flatten(name: &str, value: &Value, flags: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(&name, value, flags);
            }
        }
        Value::Null => {}
        Value::String(text) => flags.push((name.to_owned(), text.clone())),
        other => flags.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_paths() {
        let mut flags = Vec::new();
        flatten("", &json!({"a": {"b": true, "c": "x"}, "d": [30000, 32767], "e": null}), &mut flags);
        let flags: Vec<String> = flags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(flags, ["a.b=true", "a.c=x", "d=[30000,32767]"]);
    }
}
