//! fn sync_pod(&Desired, &Observed, Now) -> Vec<Action>: what a node should do, decided purely.
