//! The shipped binary, seen from outside.
