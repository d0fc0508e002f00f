//! A message that is too large is refused with the code gRPC callers expect: the library says "out of range", all
//! others "resource exhausted".

use http::HeaderValue;
use tonic::body::Body;
use tonic::{Code, Status};

/// How the library's refusal begins.
const REFUSAL: &str = "Error, decoded message length too large";
const CODE: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";

/// Of a call that was refused before anything was answered.
pub(super) fn rewrite(mut response: http::Response<Body>) -> http::Response<Body> {
    let headers = response.headers_mut();
    let is_it = headers.get(MESSAGE).is_some_and(is_refusal);
    if is_it {
        headers.insert(CODE, (Code::ResourceExhausted as i32).into());
    }
    response
}

/// In a header blanks are escaped.
fn is_refusal(message: &HeaderValue) -> bool {
    String::from_utf8_lossy(message.as_bytes()).replace("%20", " ").starts_with(REFUSAL)
}

/// Of a stream whose next message was not read.
pub(super) fn status(status: Status) -> Status {
    match status.message().starts_with(REFUSAL) {
        true => Status::resource_exhausted(status.message()),
        false => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_that_are_too_large_get_another_code() {
        let large = Status::out_of_range(format!("{REFUSAL}: found 9 bytes, the limit is: 8 bytes"));
        let other = Status::out_of_range("another range");
        for (refusal, code) in [(large, Code::ResourceExhausted), (other, Code::OutOfRange)] {
            let message = refusal.message().to_owned();
            let renamed = status(refusal.clone());
            assert_eq!((renamed.code(), renamed.message()), (code, message.as_str()));
            let rewritten = rewrite(refusal.into_http());
            let rewritten = Status::from_header_map(rewritten.headers()).expect("a status");
            assert_eq!((rewritten.code(), rewritten.message()), (code, message.as_str()));
        }
    }
}
