//! What changes between two documents.
