//! Words every part of the API server shares: Status errors, resource names, object keys,
//! metadata access, selectors, quantities and name formats.
//!
//! An object is a [`serde_json::Value`] while it is worked on and bytes while it is kept.

pub mod certificates;
pub mod duration;
pub mod error;
pub mod fields;
pub mod image;
pub mod invalid;
pub mod jws;
pub mod labels;
pub mod meta;
pub mod names;
pub mod object;
pub mod quantity;
pub mod quota;
pub mod quote;
pub mod resource;
pub mod templates;
pub mod time;
pub mod user;

pub use error::{ApiError, Reason};
pub use invalid::{Cause, ErrorList, Path};
pub use resource::{GroupKind, GroupResource, GroupVersion, GroupVersionKind, ObjectKey};
pub use serde_json::Value;
pub use user::UserInfo;
