//! Workloads, faults and checkers against running clusters.
