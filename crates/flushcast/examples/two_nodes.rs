//! Two nodes over one source, as two instances of an app would be: what one changes, the other does
//! not serve any more once the flush is answered.
//! `cargo run -p flushcast --example two_nodes`
#![allow(clippy::print_stdout, reason = "an example that shows what it does")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use flushcast::discovery::Fixed;
use flushcast::{Cache, LoadError, Node, Peer};

/// What both instances read from: a database, in a real app.
type Source = Arc<AtomicU32>;

struct Instance {
    node: Node,
    prices: Cache<String, u32>,
    source: Source,
}

impl Instance {
    async fn start(
        name: &str,
        address: SocketAddr,
        all: &[SocketAddr],
        source: &Source,
    ) -> Result<Instance, Box<dyn std::error::Error>> {
        let node = Node::builder("shop").name(name).listen(address);
        let node = node.discovery(Fixed::new(all)).start().await?;
        let prices = node.cache("prices").build()?;
        Ok(Instance { node, prices, source: Arc::clone(source) })
    }

    async fn price(&self) -> Result<u32, LoadError<std::convert::Infallible>> {
        let load = async || Ok(self.source.load(Ordering::SeqCst));
        self.prices.get_or_load("tea", load).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let all: [SocketAddr; 2] = ["127.0.0.1:7401".parse()?, "127.0.0.1:7402".parse()?];
    let source = Source::new(AtomicU32::new(5));
    let one = Instance::start("one", all[0], &all, &source).await?;
    let two = Instance::start("two", all[1], &all, &source).await?;
    for instance in [&one, &two] {
        instance.node.peers_until(|peers| peers.iter().all(Peer::is_linked)).await;
        println!("{} sells tea for {}", instance.node.name(), instance.price().await?);
    }

    source.store(6, Ordering::SeqCst);
    let outcome = one.prices.flush("tea").await?;
    println!("one has changed the price; {outcome}");
    for instance in [&one, &two] {
        println!("{} sells tea for {}", instance.node.name(), instance.price().await?);
    }

    one.node.shutdown().await?;
    two.node.shutdown().await?;
    Ok(())
}
