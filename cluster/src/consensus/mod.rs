//! Raft groups over the fabric.
