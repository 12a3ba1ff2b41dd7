//! Copies that depend on something in common are flushed together by a tag.
//!
//! `cargo run -p flushcast --example tags`
#![allow(clippy::print_stdout, reason = "an example talks")]

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use flushcast::{Cache, Loaded, Node};

/// Stands for your database: products by their number, with supplier and price.
struct Database(Mutex<BTreeMap<u64, (&'static str, u64)>>);

impl Database {
    async fn product(&self, number: u64) -> Result<(&'static str, u64), io::Error> {
        println!("  the database is asked for product {number}");
        let products = self.0.lock().map_err(|_| io::Error::other("a writer panicked"))?;
        products.get(&number).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// One statement that changes many rows.
    async fn raise_prices(&self, supplier: &str) -> Result<(), io::Error> {
        let mut products = self.0.lock().map_err(|_| io::Error::other("a writer panicked"))?;
        let theirs = products.values_mut().filter(|(theirs, _)| *theirs == supplier);
        theirs.for_each(|(_, price)| *price += 1);
        Ok(())
    }
}

async fn price(
    prices: &Cache<u64, u64>,
    database: &Database,
    number: u64,
) -> Result<u64, Box<dyn std::error::Error>> {
    let loader = || async {
        let (supplier, price) = database.product(number).await?;
        Ok::<_, io::Error>(Loaded::new(price).tag(supplier))
    };
    Ok(prices.get_or_load_with(&number, loader).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let products = [(1, ("acme", 10)), (2, ("globex", 20)), (3, ("acme", 30))];
    let database = Database(Mutex::new(products.into()));
    let node = Node::builder("shop").listen("127.0.0.1:0".parse()?).start().await?;
    let prices: Cache<u64, u64> = node.cache("prices").build()?;

    for number in [1, 2, 3] {
        println!("product {number} costs {}", price(&prices, &database, number).await?);
    }
    println!("acme raises its prices");
    database.raise_prices("acme").await?;
    prices.flush_tag("acme").await?;
    for number in [1, 2, 3] {
        println!("product {number} costs {}", price(&prices, &database, number).await?);
    }
    node.shutdown().await?;
    Ok(())
}
