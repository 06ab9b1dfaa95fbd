//! What a node needs to join: a kubeconfig as `system:node:NAME`, and the certificate that its kubelet serves with.

use std::{fs, io, path::Path};

use auth::{ClusterCa, pki};
use component_base::Clock;
use jiff::Timestamp;

use crate::ServerError;

/// A node's credentials.
#[derive(Debug, Clone)]
pub struct NodeCredentials {
    /// The node's name.
    pub node_name: String,
    /// Its kubeconfig, YAML.
    pub kubeconfig: String,
    /// The kubelet's serving certificate, PEM.
    pub serving_certificate: String,
    /// Its key, PEM.
    pub serving_key: String,
    /// The cluster's authority, PEM.
    pub cluster_ca: String,
}

const FILES: [&str; 5] = ["node-name", "node.kubeconfig", "kubelet.crt", "kubelet.key", "ca.crt"];

impl NodeCredentials {
    /// Reads what [`NodeCredentials::write`] wrote.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn read(folder: &Path) -> Result<Self, ServerError> {
        let read = |file: &str| {
            let path = folder.join(file);
            fs::read_to_string(&path).map_err(|source| ServerError::File { path, source })
        };
        Ok(Self {
            node_name: read(FILES[0])?.trim().to_owned(),
            kubeconfig: read(FILES[1])?,
            serving_certificate: read(FILES[2])?,
            serving_key: read(FILES[3])?,
            cluster_ca: read(FILES[4])?,
        })
    }

    /// Writes all into `folder`, readable by its owner alone.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<(), ServerError> {
        pki::make_folder(folder)?;
        let texts = [&self.node_name, &self.kubeconfig, &self.serving_certificate, &self.serving_key, &self.cluster_ca];
        for (file, text) in FILES.iter().zip(texts) {
            pki::write_private(&folder.join(file), text.as_bytes())?;
        }
        Ok(())
    }
}

/// Issues credentials for the node called `name`.
pub(crate) fn issue(ca: &ClusterCa, url: &str, name: &str, now: Timestamp) -> Result<NodeCredentials, ServerError> {
    let user = format!("system:node:{name}");
    let client = ca.client(&user, &["system:nodes"], now)?;
    let names = [name.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
    let serving = ca.server(&user, &names, now)?;
    Ok(NodeCredentials {
        node_name: name.to_owned(),
        kubeconfig: pki::kubeconfig(url, ca.certificate_pem(), &user, &client),
        serving_certificate: serving.certificate,
        serving_key: serving.key,
        cluster_ca: ca.certificate_pem().to_owned(),
    })
}

/// Issues credentials for a node from the data directory of a server, which may be running.
///
/// # Errors
/// When there is no cluster in the directory.
pub fn issue_node_credentials(data_dir: &Path, name: &str, clock: &dyn Clock) -> Result<NodeCredentials, ServerError> {
    let kubeconfig = data_dir.join("admin.kubeconfig");
    let failed = |source| ServerError::File { path: kubeconfig.clone(), source };
    let text = fs::read_to_string(&kubeconfig).map_err(failed)?;
    let url = text.lines().find_map(|line| line.trim().strip_prefix("server: "));
    let url = url.ok_or_else(|| failed(io::Error::other("it names no server")))?;
    let ca = ClusterCa::open_or_create(&data_dir.join("server/pki"), clock)?;
    issue(&ca, url, name, clock.now())
}
