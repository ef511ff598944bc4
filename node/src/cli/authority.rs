//! `meridian ca`: the cluster's own certificate authority, as files.
//!
//! In: a folder and names. Out: `DIR/{ca.pem,ca.key}`, and for each node `DIR/ID/{ca.pem,node.pem,node.key}`.

mod rotation;

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use meridian_cluster::fabric::{Authority, AuthorityError};
use meridian_config::name::{NodeId, RegionName};

use super::{
    outcome::{Exit, Failure},
    outside::{self, Readers},
    terminal::Terminal,
};

#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Make the authority of a new cluster
    Init {
        /// Folder for it; made where missing
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The cluster's name, as in `cluster.name` of node.yaml
        #[arg(long, value_name = "CLUSTER")]
        name: String,
    },
    /// Issue a node's certificate and key
    Issue {
        /// The authority's folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The node's id, as in `node.id` of node.yaml
        #[arg(long, value_name = "ID")]
        node: String,
        /// The node's region, as in `node.region` of node.yaml
        #[arg(long)]
        region: String,
        /// A DNS name to put into the certificate as well
        #[arg(long, value_name = "NAME")]
        dns: Vec<String>,
        /// An address to put into the certificate as well
        #[arg(long, value_name = "ADDR")]
        ip: Vec<IpAddr>,
    },
    /// Issue certificates again, with new keys and the same names
    Renew {
        /// The authority's folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Only this node's [default: all that have one]
        #[arg(long, value_name = "ID")]
        node: Vec<String>,
    },
    /// Replace the authority: make the next one, and trust both until --finish
    Rotate {
        /// The authority's folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Stop trusting the old one: every node shows a certificate of the new one
        #[arg(long)]
        finish: bool,
    },
}

pub(super) fn run(command: CaCommand, terminal: &Terminal) -> Result<Exit, Failure> {
    match command {
        CaCommand::Init { folder, name } => {
            init(&folder, &name)?;
            terminal.say(&format!(
                "The authority of cluster {name} is in {}. Keep ca.key secret and backed up: whoever holds it can be any node.\nNext: meridian ca issue {} --node ID --region REGION",
                folder.display(),
                folder.display()
            ));
        }
        CaCommand::Issue {
            folder,
            node,
            region,
            dns,
            ip,
        } => {
            let place = issue(
                &folder,
                &NodeId::from(node.as_str()),
                &RegionName::from(region.as_str()),
                &dns,
                &ip,
            )?;
            terminal.say(&format!(
                "Node {node} of region {region}: bring the three files of {} to its machine and name them in node.yaml (fabric: ca, cert, key).",
                place.display()
            ));
        }
        CaCommand::Renew { folder, node } => {
            let renewed = rotation::renew(&folder, &node)?;
            terminal.say(&format!(
                "Renewed: {}. Bring ca.pem, node.pem and node.key of each to its machine; a running node takes them in within seconds, or at once on SIGHUP.",
                renewed.join(", ")
            ));
        }
        CaCommand::Rotate { folder, finish } => {
            let at = folder.display();
            if finish {
                rotation::finish(&folder)?;
                terminal.say(&format!(
                    "The old authority is dropped. Bring the ca.pem of {at}/ID to each node; from then on certificates of the old one are refused."
                ));
            } else {
                rotation::begin(&folder)?;
                terminal.say(&format!(
                    "The next authority is in {at}, and every ca.pem there holds both. In this order:\n1. Bring the ca.pem of {at}/ID to each node, and wait until meridian_certificate_count of that file is 2 on all of them.\n2. meridian ca renew {at}; bring node.pem and node.key to each node, and wait until meridian_certificate_expiry_seconds of node.pem has changed on all of them.\n3. meridian ca rotate {at} --finish; bring ca.pem to each node once more."
                ));
            }
        }
    }
    Ok(Exit::Done)
}

/// Makes an authority in a folder that has none.
pub(crate) fn init(folder: &Path, cluster: &str) -> Result<(), Failure> {
    let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    for path in [&certificate, &key] {
        if path.exists() {
            return Err(Failure::failed(format!(
                "{} exists; a cluster keeps its authority, so name an empty folder for a new one",
                path.display()
            )));
        }
    }
    let authority = Authority::create(cluster, None).map_err(|error| refused(&error))?;
    outside::create_private_folder(folder).map_err(|error| unwritable(folder, &error))?;
    // The key first: a certificate without its key would look like an authority.
    put(&key, &authority.key_pem(), Readers::Owner)?;
    put(&certificate, authority.cert_pem(), Readers::All)
}

/// Issues a node's files into `DIR/ID`, and says where that is.
pub(crate) fn issue(
    folder: &Path,
    node: &NodeId,
    region: &RegionName,
    dns: &[String],
    ips: &[IpAddr],
) -> Result<PathBuf, Failure> {
    let authority = load(folder)?;
    let issued = authority
        .issue(node, region, dns, ips, outside::unix_time())
        .map_err(|error| refused(&error))?;
    let place = folder.join(node.as_str());
    if place.join("node.key").exists() {
        return Err(Failure::failed(format!(
            "{} has a certificate already; renew it with meridian ca renew {} --node {node}, or move that folder away to issue another",
            place.display(),
            folder.display()
        )));
    }
    outside::create_private_folder(&place).map_err(|error| unwritable(&place, &error))?;
    put(&place.join("ca.pem"), authority.cert_pem(), Readers::All)?;
    put(&place.join("node.pem"), &issued.cert_pem, Readers::All)?;
    // The key last: with it the folder counts as issued.
    put(&place.join("node.key"), &issued.key_pem, Readers::Owner)?;
    Ok(place)
}

/// The authority of a folder.
fn load(folder: &Path) -> Result<Authority, Failure> {
    let read = |name: &str| {
        let path = folder.join(name);
        outside::read_text(&path).map_err(|error| {
            Failure::invalid(format!(
                "{} cannot be read: {error}; make the authority first: meridian ca init {} --name CLUSTER",
                path.display(),
                folder.display()
            ))
        })
    };
    let certificate = read("ca.pem")?;
    let loaded = match Authority::load(&certificate, &read("ca.key")?) {
        Err(AuthorityError::NotAPair) if rotation::next_fits(folder, &certificate) => {
            rotation::adopt_next(folder)?;
            Authority::load(&certificate, &read("ca.key")?)
        }
        loaded => loaded,
    };
    loaded.map_err(|error| refused(&error))
}

fn put(path: &Path, text: &str, readers: Readers) -> Result<(), Failure> {
    outside::write(path, text.as_bytes(), readers).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!(
        "{} cannot be written: {error}; name a folder that you may write, on a disk with free space",
        path.display()
    ))
}

fn refused(error: &AuthorityError) -> Failure {
    match error {
        AuthorityError::Library(_) => Failure::failed(error.to_string()),
        _ => Failure::invalid(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_issued_node_has_its_three_files_and_a_private_key_of_its_own() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("ca");
        init(&folder, "prod").unwrap();
        let issued = issue(&folder, &"n1".into(), &"eu".into(), &[], &[]).unwrap();
        for name in ["ca.pem", "node.pem", "node.key"] {
            assert!(issued.join(name).exists(), "{name}");
        }
        for key in [folder.join("ca.key"), issued.join("node.key")] {
            let mode = key.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn what_exists_is_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        init(place.path(), "prod").unwrap();
        assert_eq!(init(place.path(), "prod").unwrap_err().exit, Exit::Failed);
        let again = || issue(place.path(), &"n1".into(), &"eu".into(), &[], &[]);
        again().unwrap();
        assert_eq!(again().unwrap_err().exit, Exit::Failed);
    }

    #[test]
    fn bad_names_and_a_missing_authority_are_wrong_use() {
        let place = tempfile::tempdir().unwrap();
        let nowhere = issue(place.path(), &"n1".into(), &"eu".into(), &[], &[]).unwrap_err();
        assert_eq!(nowhere.exit, Exit::Invalid);
        assert!(nowhere.message.contains("ca init"), "{nowhere}");
        assert_eq!(
            init(place.path(), "Not A Name").unwrap_err().exit,
            Exit::Invalid
        );
        init(place.path(), "prod").unwrap();
        let slash = issue(place.path(), &"../x".into(), &"eu".into(), &[], &[]).unwrap_err();
        assert_eq!(slash.exit, Exit::Invalid);
    }
}
