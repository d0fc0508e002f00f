//! The conformance suite every implementation of [`crate::Store`] passes.
