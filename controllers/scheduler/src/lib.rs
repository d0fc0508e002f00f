//! fn schedule(&Snapshot, &Pod) -> Decision; one file per filter and score.
