//! Bytes to objects and back, once for all kinds, over the schema.

pub mod apply;
pub mod decode;
pub mod default;
mod definitions;
pub mod depth;
pub mod go_text;
mod go_time;
pub mod openapi;
mod operations;
mod order;
mod parse;
pub mod patch;
mod path;
pub mod protobuf;
mod scalar;
mod shown;
pub mod stored;
pub mod stored_version;
mod strategic;
pub mod table;
pub mod yaml;

pub use parse::go_json_error;
pub use scalar::go_base64_error;
