//! A cluster made by hand, as in production: `meridian ca`, `node.yaml`, `meridian node`, an identity
//! provider over HTTPS.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    binary::{Ran, command, meridian, run},
    certificates::Authority,
    http::get,
    ports,
    process::Process,
    provider::{AUDIENCE, Provider, Signer},
    wait::{LONG, until},
};

/// The files of a cluster, its provider, and what is needed to start its nodes.
pub struct Site {
    folder: TempDir,
    /// The cluster's name.
    pub cluster: String,
    /// Its nodes.
    pub nodes: Vec<Place>,
    /// How many of them found the cluster: the first ones.
    founders: usize,
    /// Its identity provider.
    pub provider: Provider,
    /// The key that the provider publishes.
    pub signer: Signer,
}

/// Where one node is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its id.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Edge, plain HTTP.
    pub http: SocketAddr,
    /// Edge, HTTPS.
    pub https: SocketAddr,
    /// Control fabric.
    pub fabric: SocketAddr,
    /// Bulk fabric.
    pub bulk: SocketAddr,
    /// Admin API.
    pub admin: SocketAddr,
}

impl Site {
    /// Makes authority, certificates, tokens and `node.yaml` for nodes of these ids and regions, all of
    /// them founders.
    pub async fn new(cluster: &str, nodes: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        let provider = Provider::start(&authority.issue()).await;
        let signer = Signer::new("first");
        provider.publish(&[&signer]);
        let edge = authority.issue();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text)
                .expect("the test's folder can be written");
        };
        write("outside-ca.pem", authority.pem());
        write("edge.pem", &edge.certificate);
        write("edge.key", &edge.key);
        let token = meridian(&[
            "admin", "token", "--name", "test", "--role", "admin", "-o", "json",
        ]);
        let token = token.await.expect(0).json();
        let entry = &token["entry"];
        write("admin.token", token["token"].as_str().expect("a token"));
        write(
            "admin-tokens.yaml",
            &format!("- {{ name: test, role: admin, hash: {} }}\n", entry["hash"]),
        );
        let nodes: Vec<Place> = nodes
            .iter()
            .map(|(id, region)| Place::new(id, region))
            .collect();
        let site = Self {
            folder,
            cluster: cluster.to_owned(),
            founders: nodes.len(),
            nodes,
            provider,
            signer,
        };
        let ca = site.path("ca");
        let ca = ca.to_str().expect("a plain path");
        meridian(&["ca", "init", ca, "--name", cluster])
            .await
            .expect(0);
        for node in &site.nodes {
            site.issue(node).await;
            site.configure(node, cluster);
        }
        site
    }

    /// Adds a node that founds nothing: it joins by these control addresses.
    pub async fn add(&mut self, id: &str, region: &str, join: &[SocketAddr]) -> Place {
        let node = Place::new(id, region);
        self.issue(&node).await;
        self.nodes.push(node.clone());
        let join: Vec<String> = join.iter().map(ToString::to_string).collect();
        self.write_config(id, &node, &self.cluster, &join);
        node
    }

    async fn issue(&self, node: &Place) {
        let ca = self.path("ca");
        let ca = ca.to_str().expect("a plain path");
        let Place { id, region, .. } = node;
        let issue = ["ca", "issue", ca, "--node", id, "--region", region];
        meridian(&issue).await.expect(0);
    }

    /// A file of the site's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A node's `node.yaml`.
    pub fn config(&self, node: &Place) -> PathBuf {
        self.path(&node.id).join("node.yaml")
    }

    /// A node's data folder.
    pub fn data(&self, node: &Place) -> PathBuf {
        self.path(&node.id).join("data")
    }

    /// Writes a node's `node.yaml` into the folder of its id, with its certificate from `ca/ID`.
    pub fn configure(&self, node: &Place, cluster: &str) {
        self.configure_in(&node.id, node, cluster);
    }

    /// The same in another folder; gives the file's path.
    pub fn configure_in(&self, folder: &str, node: &Place, cluster: &str) -> PathBuf {
        let others: Vec<String> = self
            .nodes
            .iter()
            .filter(|other| other.id != node.id)
            .map(|other| other.fabric.to_string())
            .collect();
        self.write_config(folder, node, cluster, &others)
    }

    fn write_config(&self, folder: &str, node: &Place, cluster: &str, join: &[String]) -> PathBuf {
        let founders = self.nodes[..self.founders].iter();
        let founders: Vec<&str> = founders.map(|node| node.id.as_str()).collect();
        let join: Vec<String> = join.iter().map(|at| format!("\"{at}\"")).collect();
        let Place {
            id,
            region,
            http,
            https,
            fabric,
            bulk,
            admin,
        } = node;
        let text = format!(
            "cluster: {{ name: {cluster}, bootstrap: [{}] }}\n\
             node: {{ id: {id}, region: {region}, data_dir: data }}\n\
             listen: {{ http: \"{http}\", https: \"{https}\", fabric: \"{fabric}\", bulk: \"{bulk}\", admin: \"{admin}\" }}\n\
             fabric: {{ ca: ../ca/{id}/ca.pem, cert: ../ca/{id}/node.pem, key: ../ca/{id}/node.key, join: [{}] }}\n\
             tls: [{{ hosts: [localhost], cert: ../edge.pem, key: ../edge.key }}]\n\
             admin: {{ tokens: ../admin-tokens.yaml }}\n",
            founders.join(", "),
            join.join(", "),
        );
        let path = self.path(folder).join("node.yaml");
        std::fs::create_dir_all(self.path(folder)).expect("the test's folder can be written");
        std::fs::write(&path, text).expect("the test's folder can be written");
        path
    }

    /// Starts a node and waits until its process answers.
    pub async fn start(&self, node: &Place) -> Process {
        let mut process = self.spawn(node);
        until(&format!("{} lives", node.id), LONG, async || {
            process.must_run();
            let answer = get("/livez").try_send(node.admin).await?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
        process
    }

    /// Starts a node's process and waits for nothing.
    pub fn spawn(&self, node: &Place) -> Process {
        Process::start(
            &node.id,
            self.folder.path(),
            self.command(&self.config(node)),
        )
    }

    /// The command line of a node.
    pub fn command(&self, config: &Path) -> tokio::process::Command {
        let mut command = command(&["node", "--config"]);
        // The provider's certificate is from an authority that this machine does not know.
        command
            .arg(config)
            .env("SSL_CERT_FILE", self.path("outside-ca.pem"));
        command
    }

    /// Runs an admin command at a node.
    pub async fn admin(&self, node: &Place, arguments: &[&str]) -> Ran {
        let mut command = command(arguments);
        command
            .args(["--admin", &format!("http://{}", node.admin)])
            .arg("--token-file")
            .arg(self.path("admin.token"));
        run(command).await
    }

    /// `meridian status` as one node tells it.
    pub async fn status(&self, node: &Place) -> Value {
        self.admin(node, &["status", "-o", "json"])
            .await
            .expect(0)
            .json()
    }

    /// The admin token.
    pub fn admin_token(&self) -> String {
        let token = std::fs::read_to_string(self.path("admin.token")).expect("written before");
        token.trim().to_owned()
    }

    /// Waits until every one of these nodes takes every one of the site's for up, names one leader, and none of
    /// them is on its way out.
    pub async fn whole(&self, nodes: &[&Place]) {
        until("everybody sees everybody", LONG, async || {
            let mut leaders = BTreeSet::new();
            for node in nodes {
                let status = self.try_status(node).await?;
                let seen = status["nodes"].as_array().cloned().unwrap_or_default();
                let mut up: BTreeMap<&str, bool> = BTreeMap::new();
                for one in &seen {
                    let id = one["id"].as_str().unwrap_or_default();
                    let passing = one["draining"] == true && one["drained_by"].is_null();
                    up.insert(id, one["state"] == "up" && !passing);
                }
                if !nodes
                    .iter()
                    .all(|other| up.get(other.id.as_str()) == Some(&true))
                {
                    return Err(format!("{}: {status}", node.id));
                }
                leaders.insert(status["group"]["leader"].to_string());
            }
            if leaders.len() == 1 && !leaders.contains("null") {
                Ok(())
            } else {
                Err(format!("{leaders:?}"))
            }
        })
        .await;
    }

    /// `/api/v1/status` of one node, which may not answer.
    pub async fn try_status(&self, node: &Place) -> Result<Value, String> {
        let call = get("/api/v1/status").token(&self.admin_token());
        let answer = call.try_send(node.admin).await?;
        if answer.status == 200 {
            Ok(answer.json())
        } else {
            Err(format!("{answer:?}"))
        }
    }

    /// A node's metrics page.
    pub async fn metrics(&self, node: &Place) -> String {
        let page = get("/metrics")
            .token(&self.admin_token())
            .send(node.admin)
            .await;
        assert_eq!(page.status, 200, "{page:?}");
        String::from_utf8_lossy(&page.body).into_owned()
    }

    /// Applies a document once the cluster takes one, and waits until every node runs it.
    pub async fn apply(&self, node: &Place, text: &str) {
        let path = self.path("gateway.yaml");
        std::fs::write(&path, text).expect("the test's folder can be written");
        let path = path.to_str().expect("a plain path");
        until("the document is applied", LONG, async || {
            let ran = self
                .admin(node, &["apply", "-f", path, "--wait", "30s"])
                .await;
            match ran.code {
                Some(0) => Ok(()),
                // No leader yet.
                Some(4) => Err(ran.stderr),
                _ => panic!("{ran:?}"),
            }
        })
        .await;
    }

    /// A document with one tenant plan, this site's provider, and routes to one upstream a region.
    pub fn document(&self, upstreams: &[(&str, SocketAddr)]) -> String {
        let lines = |line: &dyn Fn(&str, SocketAddr) -> String| -> String {
            upstreams
                .iter()
                .map(|(region, address)| line(region, *address))
                .collect()
        };
        format!(
            "meridian: 1
regions:
{}plans:
  small: {{ limits: [5/minute] }}
  large: {{ limits: [1000000/hour] }}
issuers:
  test:
    issuer: {}
    audiences: [{AUDIENCE}]
    algorithms: [ES256]
    jwks: {{ refresh: 10m, max_stale: 24h }}
tenants:
  acme: {{ plan: large, aliases: [org_acme] }}
  globex: {{ plan: small }}
services:
  plants:
    endpoints:
{}    timeouts: {{ connect: 1s, response: 5s, idle: 60s }}
    health: {{ path: /health, interval: 500ms, timeout: 500ms, healthy_after: 1, unhealthy_after: 2 }}
routes:
  api:
    match: {{ path: \"/api/{{*rest}}\" }}
    service: plants
    request:
      rewrite: \"/{{rest}}\"
      headers: {{ set: {{ x-tenant: \"{{tenant}}\" }}, remove: [x-drop-me] }}
      max_body: 2MiB
    response: {{ headers: {{ set: {{ x-served-by: \"{{region}}\" }} }} }}
  secret:
    match: {{ path: \"/secret/{{*rest}}\", methods: [GET] }}
    service: plants
    allow: {{ scopes: [secrets:read], roles: [keeper] }}
    request: {{ rewrite: \"/{{rest}}\" }}
  open: {{ match: {{ path: /open }}, respond: {{ status: 200, json: {{ ok: true }} }}, exempt: [auth, limits] }}
",
            lines(&|region, _| format!("  {region}: {{}}\n")),
            self.provider.url,
            lines(&|region, address| format!("      {region}: [\"http://{address}\"]\n")),
        )
    }

    /// A good token.
    pub fn token(&self, tenant: &str, scope: &str) -> String {
        self.signer.sign(&self.provider.claims(tenant, scope))
    }
}

impl Place {
    /// Free ports for a node.
    pub fn new(id: &str, region: &str) -> Self {
        Self {
            id: id.to_owned(),
            region: region.to_owned(),
            http: ports::free(),
            https: ports::free(),
            fabric: ports::free(),
            bulk: ports::free(),
            admin: ports::free(),
        }
    }
}
