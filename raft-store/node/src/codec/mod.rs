//! Between the store's types and `proto/log.proto`. Pure; nothing here trusts what it decodes.

mod command;
mod peer;
mod raft;
mod reply;

pub use command::{command_from_bytes, command_to_bytes};
pub(crate) use peer::*;
pub(crate) use raft::*;
pub use reply::{error_from_proto, error_to_proto, reply_from_proto, reply_to_proto};

/// The newest format of log entries and commands this version writes and understands.
pub const FORMAT: u32 = 3;
/// The oldest one it understands: applied from another first revision, an older log gives another state.
const OLDEST_FORMAT: u32 = 3;

/// Why bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("not the expected message")]
    Protobuf(#[from] prost::DecodeError),
    #[error("format {found} is newer than this version understands ({FORMAT}): upgrade this replica")]
    Format { found: u32 },
    #[error("format {found} is of a version whose store began at another revision")]
    OldFormat { found: u32 },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is out of range")]
    Range(&'static str),
}

fn present<T>(field: Option<T>, name: &'static str) -> Result<T, DecodeError> {
    field.ok_or(DecodeError::Missing(name))
}

fn known_format(found: u32) -> Result<(), DecodeError> {
    match found {
        OLDEST_FORMAT..=FORMAT => Ok(()),
        0 => Err(DecodeError::Missing("format")),
        1..OLDEST_FORMAT => Err(DecodeError::OldFormat { found }),
        _ => Err(DecodeError::Format { found }),
    }
}
