//! Runs agents that live on tokio.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::lines::{Told, listen};
use super::sentence;

/// What is told, and nothing once stdin has ended.
pub type Orders = UnboundedReceiver<Option<Told>>;

/// Runs an agent until it ends; what it has left running ends with it.
pub fn on_tokio<F: Future<Output = Result<(), String>>>(
    agent: impl FnOnce(Orders) -> F,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(sentence)?;
    let (sender, told) = unbounded_channel();
    listen(move |order| {
        let _ = sender.send(order);
    });
    let outcome = runtime.block_on(agent(told));
    runtime.shutdown_background();
    outcome
}
