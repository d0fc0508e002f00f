//! How the spec of a claim differs from another, as upstream's error shows it.

use api_machinery::Value;

use crate::list::core_internal_json as internal;

pub(crate) fn of(old: &Value, new: &Value) -> String {
    internal::difference("PersistentVolumeClaimSpec", old, new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_that_grows() {
        let of_size = |size: &str| {
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}},
                   "storageClassName": "fast", "volumeMode": "Filesystem"})
        };
        assert_eq!(of(&of_size("1Gi"), &of_size("1Gi")), "");
        let expected = [
            "@@ -6,7 +6,7 @@",
            "  \"Resources\": {",
            "   \"Limits\": null,",
            "   \"Requests\": {",
            "-   \"storage\": \"1Gi\"",
            "+   \"storage\": \"2Gi\"",
            "   }",
            "  },",
            "  \"VolumeName\": \"\",",
            "",
        ];
        assert_eq!(of(&of_size("1Gi"), &of_size("2Gi")), expected.join("\n"));
    }
}
