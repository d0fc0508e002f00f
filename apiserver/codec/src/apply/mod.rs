//! Who manages which field, and server-side apply over it.
//!
//! Every writer owns the fields it set; `metadata.managedFields` keeps that. An apply states all fields its
//! manager wants: they are merged into the object, what the manager stated before and states no longer goes,
//! and a field that another manager owns with another value is a conflict.
//!
//! [`set`] is the algebra of field sets, [`place`] what the schema says of a position in an object, [`walk`]
//! what is done along both; [`managers`] reads and writes `managedFields`; [`ownership`] decides updates and
//! applies. The behaviour matched is upstream's: <https://kubernetes.io/docs/reference/using-api/server-side-apply/>.

mod check;
mod conflict;
mod element;
mod fields;
mod last_applied;
mod managers;
mod merge;
mod ownership;
mod place;
mod prune;
mod scale;
mod set;
#[cfg(test)]
mod tests;
mod walk;
mod zero;

pub use conflict::Conflict;
pub use managers::MAX_UPDATE_MANAGERS;
pub use ownership::{Failure, Manager, Ownership, Versions};
pub use scale::Replicas;
pub use set::FieldSet;
