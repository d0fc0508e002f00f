//! Bytes to objects and back, once for all kinds, over the schema.

pub mod decode;
pub mod default;
pub mod patch;
pub mod stored;
pub mod table;
