//! What the store and the cache refuse, as the API says it.

use api_cache::CacheError;
use api_machinery::invalid::CauseType;
use api_machinery::{ApiError, Cause, Reason};
use store_api::{Revision, StoreError};

/// Seconds a client waits before it asks again.
const RETRY_AFTER: u32 = 1;

pub(crate) fn from_store(error: StoreError) -> ApiError {
    match error {
        StoreError::Compacted { requested, oldest } => too_old(requested, oldest),
        StoreError::FutureRevision { requested, current } => too_large(requested, current),
        StoreError::Fenced { .. } => ApiError::new(409, Reason::Conflict, format!("the write was refused: {error}")),
        StoreError::Unavailable(why) => {
            ApiError::unavailable(format!("the store cannot be written to at the moment: {why}"))
                .retry_after(RETRY_AFTER)
        }
        // As upstream, to ask again does not help; unlike there, the code says so to machines.
        StoreError::NoSpace(why) => ApiError::new(507, Reason::InsufficientStorage, format!("no space left: {why}")),
        StoreError::Unknown(_) => ApiError::timeout(
            "Timeout: request did not complete within requested timeout - context deadline exceeded",
            RETRY_AFTER,
        ),
        StoreError::Invalid(why) => ApiError::internal(why),
        StoreError::LeaseNotFound(lease) => ApiError::internal(format!("lease {lease} is gone")),
        error @ (StoreError::LeaseExists(_) | StoreError::KeyNotFound(_) | StoreError::Member(_)) => {
            ApiError::internal(error)
        }
        StoreError::Fatal(why) => {
            ApiError::unavailable(format!("this replica is stopping: {why}")).retry_after(RETRY_AFTER)
        }
    }
}

pub(crate) fn from_cache(error: CacheError) -> ApiError {
    match error {
        CacheError::Expired { requested, oldest } => too_old(requested, oldest),
        CacheError::TooLarge { requested, current } => too_large(requested, current),
        CacheError::Closed(why) => {
            ApiError::unavailable(format!("this replica is stopping: {why}")).retry_after(RETRY_AFTER)
        }
    }
}

pub(crate) fn too_old(requested: Revision, oldest: Revision) -> ApiError {
    ApiError::expired(format!("too old resource version: {requested} ({oldest})"))
}

/// Clients know this one by its cause, older ones by its text.
pub(crate) fn too_large(requested: Revision, current: Revision) -> ApiError {
    const WHY: &str = "Too large resource version";
    let cause = Cause { reason: CauseType::ResourceVersionTooLarge, message: WHY.to_owned(), field: String::new() };
    ApiError::timeout(format!("Timeout: {WHY}: {requested}, current: {current}"), RETRY_AFTER).because(cause)
}
