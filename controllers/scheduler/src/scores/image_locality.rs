//! Nodes that have the images already, weighed so that not one node gets everything.

use crate::cycle::Cycle;
use crate::scores::MAX;

/// Bytes of images below which it makes no difference, and per container above which it makes no more.
const LEAST: i64 = 23 * 1024 * 1024;
const MOST_PER_CONTAINER: i64 = 1000 * 1024 * 1024;

pub(crate) fn score(cycle: &Cycle<'_>, feasible: &[usize], out: &mut [i64]) -> bool {
    let images: Vec<_> = cycle.pod.images.iter().map(|image| normalized(image)).collect();
    let spread = &cycle.snapshot.image_nodes;
    let known: Vec<_> = images.iter().filter_map(|image| Some((image, *spread.get(image)? as i64))).collect();
    if known.is_empty() {
        return false;
    }
    let nodes = cycle.snapshot.len() as i64;
    let most = MOST_PER_CONTAINER * images.len() as i64;
    for (slot, score) in feasible.iter().zip(out) {
        let here = &cycle.snapshot.nodes[*slot].images;
        let sum: i64 =
            known.iter().filter_map(|(image, count)| here.get(*image).map(|size| size * count / nodes)).sum();
        *score = MAX * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST);
    }
    true
}

/// An image without tag is `latest`.
fn normalized(image: &str) -> String {
    let tagged = image.rfind(':') > image.rfind('/') || image.contains('@');
    if tagged { image.to_owned() } else { format!("{image}:latest") }
}
