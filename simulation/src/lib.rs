//! Many nodes in one process on one seed.
