//! A message that is too large is refused with the code gRPC clients expect.
//!
//! The library says "out of range", the others "resource exhausted"; clients of etcd look for the latter.

use http::HeaderValue;
use tonic::{Code, Status};

/// How the library's refusal begins, as it stands in a header.
const TOO_LARGE: &str = "Error, decoded message length too large";
const CODE: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
const REFUSAL: &str = "grpc: received message larger than max";

/// Of a call whose only message was not read.
pub(crate) fn rewrite<B>(mut response: http::Response<B>) -> http::Response<B> {
    let headers = response.headers_mut();
    let is_it = headers.get(MESSAGE).is_some_and(|message| unescaped(message).starts_with(TOO_LARGE));
    if is_it {
        headers.insert(CODE, (Code::ResourceExhausted as i32).into());
        headers.insert(MESSAGE, HeaderValue::from_static("grpc:%20received%20message%20larger%20than%20max"));
    }
    response
}

fn unescaped(message: &HeaderValue) -> String {
    String::from_utf8_lossy(message.as_bytes()).replace("%20", " ")
}

/// Of a stream whose next message was not read.
pub(crate) fn status(status: Status) -> Status {
    match status.message().starts_with(TOO_LARGE) {
        true => Status::resource_exhausted(REFUSAL),
        false => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_that_are_too_large_get_another_code() {
        let large =
            Status::out_of_range("Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes");
        assert_eq!(status(large.clone()).code(), Code::ResourceExhausted);
        let other = Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
        assert_eq!(status(other.clone()).code(), Code::OutOfRange);
        for (refusal, code) in [(large, "8"), (other, "11")] {
            let rewritten = rewrite(refusal.into_http::<()>());
            assert_eq!(rewritten.headers().get(CODE).expect("a code"), code);
        }
    }
}
