//! What nobody looks after any more goes: pods that are gone, their files, images that nothing uses.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kubelet_core::image_gc::{Disk, Image, Images};
use kubelet_cri::{CriError, cri};
use tokio::time::Instant;

use crate::agent::Node;
use crate::leftovers::Ends;
use crate::{clock, images, machine, volumes};

/// How often the node is tidied up.
const EVERY: Duration = Duration::from_secs(60);
/// How often the disk is measured for images to remove, as upstream.
const IMAGES_EVERY: Duration = Duration::from_secs(300);

/// Tidies up until stopped, from when all pods of the node are known.
pub(crate) async fn keep(node: Arc<Node>) {
    node.pods_known.cancelled().await;
    let (mut ends, mut images) = (Ends::default(), Images::default());
    let (mut images_due, mut asked) = (Instant::now(), false);
    loop {
        if let Err(error) = ends.begin(&node).await {
            tracing::warn!(%error, "looking for pods that are gone");
        } else if !node.hollow {
            remove_files(&node, &ends).await;
        }
        let due = images_due <= Instant::now();
        if !node.hollow && (due || asked) {
            match collect_images(&node, &mut images).await {
                // Asked for again and again it is said once in a while.
                Ok(Some(failure)) if due => node.events.node(false, "FreeDiskSpaceFailed", failure),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "looking for images that nothing uses"),
            }
        }
        if due {
            images_due = Instant::now() + IMAGES_EVERY;
        }
        asked = tokio::select! {
            () = tokio::time::sleep(EVERY) => false,
            () = node.tidy.notified() => true,
            () = node.stop.cancelled() => return,
        }
    }
}

/// Files of pods that have no worker and are not ending.
async fn remove_files(node: &Arc<Node>, ends: &Ends) {
    let (node, ending) = (node.clone(), ends.uids());
    let root = node.config.root_dir.clone();
    let known = move |uid: &str| ending.iter().any(|one| one == uid) || node.workers.lock().contains_key(uid);
    // Blocking: file systems may be slow.
    let _ = tokio::task::spawn_blocking(move || volumes::remove_leftovers(&root, &known)).await;
}

/// Removes images if the disk is full; what to say when that was not enough.
async fn collect_images(node: &Node, images: &mut Images) -> Result<Option<String>, CriError> {
    let (present, containers) = tokio::join!(node.runtime.list_images(), node.runtime.list_containers(None));
    let (present, used) = (present?, used(&containers?));
    let now = clock::now();
    let used = present.iter().filter(|image| names(image).any(|name| used.contains(name))).map(|i| i.id.clone());
    images.look(present.iter().map(convert).collect(), &used.collect(), now);
    let place = node.runtime.image_filesystem().await?.map_or_else(|| node.config.root_dir.clone(), PathBuf::from);
    let Some((capacity, available)) = machine::filesystem(&place) else { return Ok(None) };
    let removal = images.removal(Disk { capacity, available }, now);
    for id in &removal.ids {
        tracing::info!(image = id, "removing an image that nothing uses: the disk is full");
        node.runtime.remove_image(id).await?;
    }
    let (wanted, found) = (removal.wanted, removal.found);
    Ok((found < wanted).then(|| {
        format!(
            "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {found} bytes eligible to free."
        )
    }))
}

/// Images of all containers, as the runtime refers to them.
fn used(containers: &[cri::Container]) -> BTreeSet<String> {
    let named = |c: &cri::Container| [c.image_ref.clone(), c.image.clone().unwrap_or_default().image];
    containers.iter().flat_map(named).collect()
}

fn names(image: &cri::Image) -> impl Iterator<Item = &String> {
    std::iter::once(&image.id).chain(&image.repo_tags).chain(&image.repo_digests)
}

fn convert(image: &cri::Image) -> Image {
    // What the node made from files of its own no registry could give back.
    let local = image.repo_tags.iter().any(|tag| images::is_local(tag));
    Image { id: image.id.clone(), size: i64::try_from(image.size).unwrap_or(i64::MAX), kept: image.pinned || local }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_the_node_itself_are_kept() {
        let image = |tag: &str, pinned| {
            convert(&cri::Image { id: "i".into(), repo_tags: vec![tag.to_owned()], pinned, ..Default::default() }).kept
        };
        assert!(image(images::PAUSE, false));
        assert!(image("registry.example/pause:3", true));
        assert!(!image("registry.example/app:1", false));
    }

    #[test]
    fn containers_name_their_image_in_one_way_or_another() {
        let container = cri::Container {
            image_ref: "sha256:1".into(),
            image: Some(cri::ImageSpec { image: "app:1".into(), ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(used(&[container]), BTreeSet::from(["sha256:1".to_owned(), "app:1".to_owned()]));
    }
}
