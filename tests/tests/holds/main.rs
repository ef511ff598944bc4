//! Does the shipped binary hold? One binary of tests, a module for each topic.

#![allow(
    clippy::disallowed_methods,
    reason = "tests stand outside of a node and use the operating system directly"
)]

mod admin;
mod alerts;
mod alone;
mod backup;
mod bans;
mod clocks;
mod configuration;
mod damage;
mod dev;
mod disk;
mod failover;
mod grpc;
mod guide;
mod hostile;
mod ledger;
mod membership;
mod mistakes;
mod peers;
mod quota;
mod restart;
mod rolling;
mod rotation;
mod swap;
mod tokens;
