//! Reading request bodies within bounds.

use std::pin::pin;
use std::time::Duration;

use api_codec::decode::MAX_BODY_BYTES;
use api_machinery::error::Result;
use api_machinery::{ApiError, Reason};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;

use crate::chain::{Call, Room, enter_again};
use crate::state::State;

/// A body that does not arrive within this is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of bodies that are worked on at once, by all requests together; other requests wait. What is made of a body
/// can take a hundred times its size.
pub(crate) const AT_WORK_BYTES: usize = 2 * MAX_BODY_BYTES;
/// Smaller bodies wait for none.
const SMALL_BYTES: usize = 32 * 1024;

fn too_large() -> ApiError {
    ApiError::too_large(format!("Request entity too large: limit is {MAX_BODY_BYTES}"))
}

/// The whole body. 413 beyond 3 MiB, before it is read where the client says so; 408 when it does not come.
pub(crate) async fn read<B>(headers: &HeaderMap, body: B) -> Result<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(too_large());
    }
    let whole = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(READ_TIMEOUT, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::bad_request(format!("cannot read the request body: {error}"))),
        Err(_) => Err(ApiError::new(408, Reason::Timeout, "the request body did not arrive in time")),
    }
}

/// The whole body of a call, and the right to work on it, which ends with the call. While a slow body is on its way
/// others have the call's place.
pub(crate) async fn of_call(state: &State, call: &mut Call) -> Result<Bytes> {
    let headers = call.request.headers().clone();
    let mut reading = pin!(read(&headers, call.request.body_mut()));
    let bytes = match tokio::time::timeout(state.server.flow.body_patience, &mut reading).await {
        Ok(read) => read?,
        Err(_) => {
            let text = "Too many request bodies are on their way, please try again later.";
            let full = |_| ApiError::too_many_requests(text, 1);
            let _slow = state.slow_bodies.try_acquire().map_err(full)?;
            call.room = Room::OUTSIDE;
            let read = reading.await?;
            call.room = enter_again(state, &call.info, &call.user, &call.query).await?;
            read
        }
    };
    if bytes.len() > SMALL_BYTES {
        let bytes = u32::try_from(bytes.len()).map_err(ApiError::internal)?;
        call._weight = Some(state.bodies.clone().acquire_many_owned(bytes).await.map_err(ApiError::internal)?);
    }
    Ok(bytes)
}
