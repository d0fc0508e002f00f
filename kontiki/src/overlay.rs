//! Sections of the configuration file whose fields are flags as well.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Failure;

/// What is said on the command line goes before what the file says.
pub(crate) fn over<T: Serialize + DeserializeOwned>(flags: &T, file: &T) -> Result<T, Failure> {
    let (flags, mut all) = (serde_json::to_value(flags)?, serde_json::to_value(file)?);
    if let (Value::Object(flags), Value::Object(all)) = (flags, &mut all) {
        all.extend(flags.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Ok(serde_json::from_value(all)?)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Section {
        a: Option<i64>,
        b: Option<bool>,
    }
    use super::*;

    #[test]
    fn flags_go_before_the_file() {
        let file = Section { a: Some(1), b: Some(true) };
        let flags = Section { a: None, b: Some(false) };
        assert_eq!(over(&flags, &file).expect("merges"), Section { a: Some(1), b: Some(false) });
    }
}
