//! The container runtime behind a trait: CRI v1 over a unix socket, and a fake.
