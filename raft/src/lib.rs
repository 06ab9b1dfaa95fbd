//! Consensus and the replicated store: openraft over RocksDB.
