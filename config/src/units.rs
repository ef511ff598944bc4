//! Durations, sizes and rates as operators write them.
