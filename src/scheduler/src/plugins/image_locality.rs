//! A node that has the images needs no pull.

use super::MAX_SCORE;
use crate::{cache::NodeInfo, framework::Cycle};

/// Less than this is not worth a thought, in bytes.
const SMALLEST: i64 = 23 * 1024 * 1024;
/// More than this a container makes no difference, in bytes.
const LARGEST: i64 = 1000 * 1024 * 1024;

/// The more bytes of the pod's images a node has, the better; an image that is everywhere counts in full, a rare one
/// less, so that pods do not heap up on the node that pulled first.
pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let spec = cycle.pod.pod.spec.as_ref();
    let containers: Vec<_> = spec
        .into_iter()
        .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
        .filter_map(|container| container.image.as_deref())
        .map(normalised)
        .collect();
    let total = i64::try_from(cycle.nodes.len().max(1)).unwrap_or(i64::MAX);
    let spread: Vec<i64> = containers
        .iter()
        .map(|image| cycle.nodes.iter().filter(|node| node.images.contains_key(image)).count())
        .map(|having| i64::try_from(having).unwrap_or(i64::MAX))
        .collect();
    let largest = LARGEST.saturating_mul(i64::try_from(containers.len().max(1)).unwrap_or(1));
    let weigh = |node: &&NodeInfo| {
        let bytes: i64 = containers
            .iter()
            .zip(&spread)
            .map(|(image, having)| node.images.get(image).copied().unwrap_or_default() / total * having)
            .sum();
        MAX_SCORE * (bytes.clamp(SMALLEST, largest) - SMALLEST) / (largest - SMALLEST)
    };
    nodes.iter().map(weigh).collect()
}

/// An image's name as nodes list it: with its tag.
fn normalised(image: &str) -> String {
    let after_host = image.rfind('/').map_or(image, |at| &image[at..]);
    if after_host.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}
