//! The etcd-shaped multi-version keyspace on RocksDB.
