//! The `meridian` binary: picks the TLS provider, then hands over to the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One provider for the whole process, before anything builds a TLS configuration.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing has installed a provider before main");
    meridian_node::cli::main()
}
