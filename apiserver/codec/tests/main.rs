//! Codecs against upstream's samples and files, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod decode;
mod defaults;
#[path = "common/golden.rs"]
mod golden;
mod openapi;
mod patch;
mod protobuf;
mod yaml;
