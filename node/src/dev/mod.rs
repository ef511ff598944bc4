//! `meridian dev`: a whole cluster on one machine, with a demo API and a demo identity provider.
//!
//! - [`folder`]: what lies on the disk.

pub(crate) mod folder;
