//! Whether to pull an image, and what a failed pull looks like.

use crate::observed::{StartFailure, Waiting};
use crate::{Backoffs, Now, backoff};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Use,
    Pull,
    /// `ErrImageNeverPull`
    Never(String),
}

/// By pull policy (`Always`, `IfNotPresent`, `Never`).
pub fn decide(policy: Option<&str>, image: &str, present: bool) -> Decision {
    match (policy, present) {
        (Some("Always"), _) => Decision::Pull,
        (_, true) => Decision::Use,
        (Some("Never"), false) => {
            Decision::Never(format!("Container image {image:?} is not present with pull policy of Never"))
        }
        (_, false) => Decision::Pull,
    }
}

/// The image with its default tag, as the runtime knows it.
pub fn with_default_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if image.contains('@') || last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

/// A pull failed: the next try waits.
pub fn pull_failed(backoffs: &mut Backoffs, image: &str, error: &str, now: Now) -> StartFailure {
    let delay = backoffs.next(&backoff_key(image), now, now);
    let retry = now.checked_add(delay).unwrap_or(now);
    StartFailure {
        waiting: Waiting { reason: "ErrImagePull".into(), message: error.to_owned() },
        failed: now,
        retry,
        while_backing_off: Some(Waiting {
            reason: "ImagePullBackOff".into(),
            message: format!("Back-off pulling image {image:?}: ErrImagePull: {error}"),
        }),
    }
}

pub fn pull_succeeded(backoffs: &mut Backoffs, image: &str) {
    backoffs.reset(&backoff_key(image));
}

fn backoff_key(image: &str) -> String {
    format!("image {image}")
}

/// Any other failed start: tried again soon, with its own reason shown meanwhile.
pub fn start_failed(reason: &str, message: &str, now: Now) -> StartFailure {
    let retry = now.checked_add(backoff::INITIAL).unwrap_or(now);
    StartFailure {
        waiting: Waiting { reason: reason.to_owned(), message: message.to_owned() },
        failed: now,
        retry,
        while_backing_off: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        assert_eq!(decide(Some("Always"), "a", true), Decision::Pull);
        assert_eq!(decide(Some("IfNotPresent"), "a", true), Decision::Use);
        assert_eq!(decide(Some("IfNotPresent"), "a", false), Decision::Pull);
        assert_eq!(decide(Some("Never"), "a", true), Decision::Use);
        let words = "Container image \"a\" is not present with pull policy of Never";
        assert_eq!(decide(Some("Never"), "a", false), Decision::Never(words.into()));
    }

    #[test]
    fn default_tags() {
        let tagged: Vec<_> =
            ["a", "a:1", "r.example:5000/a", "r.example:5000/a:2", "a@sha256:0"].map(with_default_tag).into();
        assert_eq!(tagged, ["a:latest", "a:1", "r.example:5000/a:latest", "r.example:5000/a:2", "a@sha256:0"]);
    }
}
