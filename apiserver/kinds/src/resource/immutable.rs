//! Parts that stay what they were, compared and shown as upstream's internal types; and what counts as a change of others.

use api_machinery::{ErrorList, Value};

use crate::at::{At, IMMUTABLE};
use crate::list::core_internal_json as internal;

/// `of`: the internal type.
pub(crate) fn validate(of: &str, at: &At<'_>, old: &Value, errors: &mut ErrorList) {
    if !internal::same(of, at.value, old) {
        errors.invalid_omitted(&at.path(), &format!("{}: {IMMUTABLE}", internal::shown(of, at.value)));
    }
}

/// Whether both say the same. An empty string, list or part and `false` say more than what is not there does: what means
/// nothing has been left out before.
pub(crate) fn is_same(left: &Value, right: &Value) -> bool {
    compare(left, right, Value::is_null)
}

/// The same, where an empty list is as good as none.
pub(crate) fn means_the_same(left: &Value, right: &Value) -> bool {
    compare(left, right, |value| value.is_null() || value.as_array().is_some_and(Vec::is_empty))
}

fn compare(left: &Value, right: &Value, is_nothing: fn(&Value) -> bool) -> bool {
    match (left, right) {
        (Value::Object(fields), Value::Object(others)) => {
            let same =
                |(name, value): (&String, &Value)| compare(value, others.get(name).unwrap_or(&Value::Null), is_nothing);
            fields.iter().all(same) && others.iter().all(|(name, value)| fields.contains_key(name) || is_nothing(value))
        }
        (Value::Array(items), Value::Array(others)) => {
            items.len() == others.len()
                && items.iter().zip(others).all(|(item, other)| compare(item, other, is_nothing))
        }
        (Value::Number(number), Value::Number(other)) => number == other || number.as_f64() == other.as_f64(),
        _ => left == right || (is_nothing(left) && is_nothing(right)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(of: &str, new: &Value, old: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        validate(of, &At::named(new, "spec"), old, &mut errors);
        errors.causes().iter().map(|cause| cause.message.clone()).collect()
    }

    #[test]
    fn what_says_the_same() {
        assert!(is_same(&json!({"a": 1, "b.c": [{"d": null}]}), &json!({"a": 1.0, "b.c": [{}], "e": null})));
        for other in [json!({"a": false}), json!({"a": ""}), json!({"a": {}}), json!({"b": 1})] {
            assert!(!is_same(&other, &json!({})) && !is_same(&json!({}), &other), "{other}");
        }
        let (empty, none) = (json!({"a": [{"b": []}]}), json!({"a": [{}]}));
        assert!(!is_same(&empty, &none) && means_the_same(&empty, &none) && means_the_same(&none, &empty));
        assert!(!means_the_same(&json!({"a": {}}), &json!({})) && !means_the_same(&empty, &json!({"a": []})));
    }

    #[test]
    fn every_field_is_shown() {
        let claim = |access: Value| {
            json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "count": 1,
                "allocationMode": "ExactCount", "adminAccess": access}}]}})
        };
        let shown = "{\"Devices\":{\"Requests\":[{\"Name\":\"r\",\"Exactly\":{\"DeviceClassName\":\"c\",\"Selectors\":null,\
                     \"AllocationMode\":\"ExactCount\",\"Count\":1,\"AdminAccess\":false,\"Tolerations\":null,\
                     \"Capacity\":null},\"FirstAvailable\":null}],\"Constraints\":null,\"Config\":null}}";
        let (nothing, refused) = (claim(Value::Null), claim(json!(false)));
        let wanted = [format!("Invalid value: {shown}: field is immutable")];
        assert_eq!(told("ResourceClaimSpec", &refused, &nothing), wanted);
        assert_eq!(told("ResourceClaimSpec", &refused, &refused), [""; 0]);
        let template = json!({"name": "z", "labels": {"a": "b"}, "spec": {"devices": {}}});
        assert_eq!(
            told("ResourceClaimTemplateSpec", &template, &json!({})),
            ["Invalid value: {\"name\":\"z\",\"labels\":{\"a\":\"b\"},\"Spec\":{\"Devices\":{\"Requests\":null,\
              \"Constraints\":null,\"Config\":null}}}: field is immutable"]
        );
        let attachment = json!({"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "pv"}});
        assert_eq!(
            told("VolumeAttachmentSpec", &attachment, &json!({})),
            [
                "Invalid value: {\"Attacher\":\"a\",\"Source\":{\"PersistentVolumeName\":\"pv\",\"InlineVolumeSpec\":null},\
              \"NodeName\":\"n\"}: field is immutable"
            ]
        );
    }
}
