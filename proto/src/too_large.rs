//! A message that is too large is refused with the code gRPC callers expect: the library says "out of range", all
//! others "resource exhausted".

use tonic::codegen::http::{HeaderValue, Response};
use tonic::{Code, Status};

/// How the library's refusal begins.
const REFUSAL: &str = "Error, decoded message length too large";
const CODE: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";

/// How a service says it.
#[derive(Clone, Copy, Debug)]
pub struct TooLarge {
    /// The library's words when `None`. ASCII.
    pub message: Option<&'static str>,
}

impl TooLarge {
    /// Of a call that was refused before anything was answered.
    pub fn rewrite<B>(self, mut response: Response<B>) -> Response<B> {
        let headers = response.headers_mut();
        if !headers.get(MESSAGE).is_some_and(|message| unescaped(message).starts_with(REFUSAL)) {
            return response;
        }
        headers.insert(CODE, (Code::ResourceExhausted as i32).into());
        if let Some(message) = self.message.and_then(|message| HeaderValue::try_from(escaped(message)).ok()) {
            headers.insert(MESSAGE, message);
        }
        response
    }

    /// Of a stream whose next message was not read.
    pub fn status(self, status: Status) -> Status {
        match status.message().starts_with(REFUSAL) {
            true => Status::resource_exhausted(self.message.unwrap_or(status.message())),
            false => status,
        }
    }
}

/// In a header blanks are escaped.
fn unescaped(message: &HeaderValue) -> String {
    String::from_utf8_lossy(message.as_bytes()).replace("%20", " ")
}

fn escaped(message: &str) -> String {
    message.replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_that_are_too_large_get_another_code() {
        let large = Status::out_of_range(format!("{REFUSAL}: found 9 bytes, the limit is: 8 bytes"));
        let other = Status::out_of_range("another range");
        let theirs = "grpc: received message larger than max";
        for (refusal, message, code, said) in [
            (&large, None, Code::ResourceExhausted, large.message()),
            (&large, Some(theirs), Code::ResourceExhausted, theirs),
            (&other, None, Code::OutOfRange, other.message()),
            (&other, Some(theirs), Code::OutOfRange, other.message()),
        ] {
            let rule = TooLarge { message };
            let renamed = rule.status(refusal.clone());
            assert_eq!((renamed.code(), renamed.message()), (code, said));
            let rewritten = rule.rewrite(refusal.clone().into_http::<()>());
            let rewritten = Status::from_header_map(rewritten.headers()).expect("a status");
            assert_eq!((rewritten.code(), rewritten.message()), (code, said));
        }
    }
}
