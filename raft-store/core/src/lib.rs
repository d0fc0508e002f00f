//! apply(state, entry) -> (reply, events): pure, deterministic, no tokio.
