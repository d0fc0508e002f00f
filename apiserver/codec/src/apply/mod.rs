//! Who manages which field, and server-side apply over it.
//!
//! Every writer owns the fields it set; `metadata.managedFields` keeps that. An apply states all fields its
//! manager wants: they are merged into the object, what the manager stated before and states no longer goes,
//! and a field that another manager owns with another value is a conflict.
//!
//! [`set`] is the algebra of field sets, [`place`] what the schema says of a position in an object, [`walk`]
//! what is done along both; [`managers`] reads and writes `managedFields`; [`ownership`] decides updates and
//! applies. The behaviour matched is upstream's: <https://kubernetes.io/docs/reference/using-api/server-side-apply/>.

mod conflict;
mod element;
mod managers;
mod merge;
mod ownership;
mod place;
mod set;
#[cfg(test)]
mod tests;
mod walk;

pub use conflict::Conflict;
pub use managers::MAX_UPDATE_MANAGERS;
pub use ownership::{Failure, Manager, Ownership, Versions};
pub use set::FieldSet;
