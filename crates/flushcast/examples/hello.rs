//! The smallest app: one node, one cache, a read that loads, a read that does not, and a flush.
//! `cargo run -p flushcast --example hello`
#![allow(clippy::print_stdout, reason = "an example that shows what it does")]

use flushcast::discovery::Fixed;
use flushcast::{Cache, Node};

async fn load(name: &str) -> Result<String, std::io::Error> {
    println!("loading {name} from the source");
    Ok(format!("Hello, {name}!"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Alone for now: list the addresses of the others here, the same list at each of them.
    let address = "127.0.0.1:7400".parse()?;
    let node =
        Node::builder("hello").listen(address).discovery(Fixed::new([address])).start().await?;
    let greetings: Cache<String, String> = node.cache("greetings").build()?;

    println!("{}", greetings.get_or_load("world", || load("world")).await?);
    println!("{}", greetings.get_or_load("world", || load("world")).await?);

    // Change the source first, then flush: here at once, and at all others.
    greetings.flush("world").await?;
    println!("{}", greetings.get_or_load("world", || load("world")).await?);

    node.shutdown().await?;
    Ok(())
}
