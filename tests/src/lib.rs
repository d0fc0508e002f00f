//! Whole-system tests with real clients; layout and dependency checks.
