//! RocksDB: key layout, raft log, state machine, snapshots, format migrations.
