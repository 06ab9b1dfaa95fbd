//! `coracle image`: the images of a node, spoken of with its runtime.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use cri::v1::{
    Image as RuntimeImage, ImageSpec, ListImagesRequest, PullImageRequest, RemoveImageRequest,
    image_service_client::ImageServiceClient,
};
use tonic::transport::Channel;

use crate::{CliError, context::say};

/// Images.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Bring a .wasm file or an OCI archive into a node's image store
    Import {
        /// The file
        file: PathBuf,
        /// What Pods call it
        #[arg(long, value_name = "REFERENCE")]
        name: String,
        #[command(flatten)]
        node: NodeSocket,
    },
    /// List images
    List {
        /// `json` for programs
        #[arg(short, long, value_parser = ["json"])]
        output: Option<String>,
        #[command(flatten)]
        node: NodeSocket,
    },
    /// Remove an image
    Rm {
        /// Its name
        name: String,
        #[command(flatten)]
        node: NodeSocket,
    },
}

/// Which node's runtime.
#[derive(Debug, Args)]
pub struct NodeSocket {
    /// The data directory of the cluster that runs on this machine
    #[arg(long, env = "CORACLE_DATA_DIR", default_value = "coracle-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// The runtime's CRI socket, if it is elsewhere
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
}

impl NodeSocket {
    async fn images(&self) -> Result<ImageServiceClient<Channel>, CliError> {
        let socket = self.socket.clone().unwrap_or_else(|| self.data_dir.join("agent/runtime/cri.sock"));
        if !cri::client::is_listening(&socket).await {
            let socket = socket.display();
            return Err(CliError::Usage(format!(
                "no runtime answers at {socket}: is the cluster up, and is --data-dir its own?"
            )));
        }
        Ok(cri::connect(socket).images)
    }
}

impl Image {
    pub(crate) async fn run(self) -> Result<(), CliError> {
        match self {
            Self::Import { file, name, node } => import(&file, &name, &node).await,
            Self::List { output, node } => list(output.is_some(), &node).await,
            Self::Rm { name, node } => {
                let image = Some(ImageSpec { image: name.clone(), ..ImageSpec::default() });
                node.images().await?.remove_image(RemoveImageRequest { image }).await.map_err(refused)?;
                say(&format!("removed {name}"));
                Ok(())
            }
        }
    }
}

fn refused(status: tonic::Status) -> CliError {
    CliError::Usage(status.message().to_owned())
}

async fn import(file: &Path, name: &str, node: &NodeSocket) -> Result<(), CliError> {
    // The runtime runs elsewhere in the file tree: a relative path would mean another file there.
    let path = fs::canonicalize(file).map_err(CliError::file(file))?;
    let annotations = HashMap::from([(cri::labels::IMPORT_FILE.to_owned(), path.to_string_lossy().into_owned())]);
    let image = ImageSpec { image: name.to_owned(), annotations, ..ImageSpec::default() };
    let request = PullImageRequest { image: Some(image), ..PullImageRequest::default() };
    let imported = node.images().await?.pull_image(request).await.map_err(refused)?.into_inner();
    say(&format!("imported {name} as {}", imported.image_ref));
    Ok(())
}

async fn list(json: bool, node: &NodeSocket) -> Result<(), CliError> {
    let answer = node.images().await?.list_images(ListImagesRequest::default()).await.map_err(refused)?;
    let images = answer.into_inner().images;
    if json {
        let items: Vec<_> = images
            .iter()
            .map(|image| {
                serde_json::json!({"id": image.id, "names": image.repo_tags, "digests": image.repo_digests, "bytes": image.size})
            })
            .collect();
        say(&serde_json::Value::from(items).to_string());
        return Ok(());
    }
    let width = images.iter().map(|image| shown_name(image).len()).max().unwrap_or_default().max("NAME".len());
    say(&format!("{:width$}  {:>10}  ID", "NAME", "BYTES"));
    for image in &images {
        say(&format!("{:width$}  {:>10}  {}", shown_name(image), image.size, image.id));
    }
    Ok(())
}

fn shown_name(image: &RuntimeImage) -> &str {
    image.repo_tags.first().or(image.repo_digests.first()).map_or("<none>", String::as_str)
}
