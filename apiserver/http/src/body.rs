//! Reading request bodies within bounds.

use std::time::Duration;

use api_codec::decode::MAX_BODY_BYTES;
use api_machinery::error::Result;
use api_machinery::{ApiError, Reason};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;

/// A body that does not arrive within this is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

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
