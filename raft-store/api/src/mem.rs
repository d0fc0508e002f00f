//! An in-memory [`crate::Store`] for tests of everything above the store.
