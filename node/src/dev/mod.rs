//! `meridian dev`: a whole cluster on one machine, with a demo API and a demo identity provider.
//!
//! ```text
//! parent ── pipe ──► child: node            (the real node; its host can lose fabric packets)
//!   │  └─── pipe ──► child: demo upstream   (one a region)
//!   ├─ demo identity provider
//!   └─ control socket ◄── dev kill, start, cut, heal
//! ```
//!
//! - [`plan`]: who listens where; [`ports`]: which numbers are free;
//! - [`folder`], [`prepare`]: what lies on the disk;
//! - [`parent`], [`children`], [`process`], [`ready`], [`screen`]: the parent's life;
//! - [`hook`], [`child`], [`node`], [`cut`]: a child's life;
//! - [`control`]: the door for other terminals;
//! - [`upstream`], [`issuer`], [`document`], [`serve`]: the demo.
//!
//! Nothing here can be reached from a production node: its hooks travel over a pipe that only the parent
//! holds.

mod child;
mod children;
pub(crate) mod control;
mod cut;
mod document;
pub(crate) mod folder;
mod hook;
pub(crate) mod issuer;
mod node;
mod parent;
pub(crate) mod plan;
mod ports;
mod prepare;
mod process;
pub(crate) mod ready;
mod screen;
mod serve;
mod upstream;

pub(crate) use child::run as child;
pub(crate) use parent::{Options, run, token_id};
pub(crate) use ports::Ports;
