//! Two nodes on this machine connect and talk: `cargo run --example connect`.

use floe::Node;
use floe::signaling::memory;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Over a network: `JsonLines` on a pipe or a TCP connection, or your own `Signaling`.
    let (near, far) = memory::pair(16);

    // For the world: `.stun("stun:stun.example.org")?` in place of `.interface("lo")`.
    let alice = Node::builder().interface("lo").bind().await?;
    let bob = Node::builder().interface("lo").bind().await?;
    let (alice, bob) = tokio::try_join!(alice.connect(near), bob.accept(far))?;

    alice.send(b"hello").await?;
    let mut buf = [0; 1500];
    let length = bob.recv(&mut buf).await?;
    println!("bob got {:?}", String::from_utf8_lossy(buf.get(..length).unwrap_or_default()));
    Ok(())
}
