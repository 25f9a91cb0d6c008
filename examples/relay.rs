//! Two nodes that meet at a TURN server, and nowhere else:
//! `cargo run --example relay -- turn:turn.example.org USERNAME PASSWORD`.

use floe::Node;
use floe::config::CandidatePolicy;
use floe::signaling::memory;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, username, password] = &arguments[..] else {
        return Err("give the URL of a TURN server, the username and the password".into());
    };
    // Without the policy the relay is there for when no direct path works.
    let builder = Node::builder().agent(|agent| agent.policy = CandidatePolicy::Relay);
    let builder = builder.turn(url, username, password)?;
    let (alice, bob) = (builder.clone().bind().await?, builder.bind().await?);
    let (near, far) = memory::pair(16);
    let (alice, bob) = tokio::try_join!(alice.connect(near), bob.accept(far))?;

    alice.send(b"hello").await?;
    let mut buf = [0; 1500];
    let length = bob.recv(&mut buf).await?;
    println!("bob got {:?}", String::from_utf8_lossy(buf.get(..length).unwrap_or_default()));
    Ok(())
}
