//! Many nodes in one process.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::Node;
use crate::{AgentConfig, AgentError};

/// Nodes that start at the same time.
const AT_ONCE: usize = 16;
/// Pause between such groups.
const STAGGER: Duration = Duration::from_millis(20);

/// Runs all nodes until stopped, or until one of them cannot run at all.
pub(crate) async fn run(configs: Vec<AgentConfig>, stop: CancellationToken) -> Result<(), AgentError> {
    let mut nodes = JoinSet::new();
    for (index, config) in configs.into_iter().enumerate() {
        if index % AT_ONCE == AT_ONCE - 1 {
            tokio::time::sleep(STAGGER).await;
        }
        let node = Node::new(config, stop.clone()).await?;
        // They spread over the servers instead of all beginning with the first.
        node.client.prefer(index);
        nodes.spawn(Box::pin(node.run()));
    }
    while let Some(ended) = nodes.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(error) => return Err(AgentError::Runtime(format!("a node's task ended: {error}"))),
        }
    }
    Ok(())
}
