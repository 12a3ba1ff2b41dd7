//! Owns the measure of the memory that a copy takes besides its key's text and its value.

use std::hint::black_box;
use std::process::Command;

use flushcast::Node;
use flushcast_bench::figures::Table;
use flushcast_bench::memory::resident;

use crate::hit;
use crate::subjects::{self, NAMES};

/// Bytes of each copy besides 24 of its key's text and 64 of its value, each cache in a process of its
/// own: when it has just been filled, and when as many have been evicted. And KiB of each of many small
/// caches, with all that is in them
#[derive(Debug, Clone, clap::Args)]
pub struct MemoryArgs {
    /// Copies that fit
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Only this one, in this process
    #[arg(long, hide = true)]
    alone: Option<String>,
}

/// Caches of the default capacity, and copies in each.
const SMALL: (usize, usize) = (1000, 10);
const DEFAULT_CAPACITY: u64 = 10_000;

/// Text of a key, and the value.
const PAYLOAD: f64 = 24.0 + 64.0;

pub fn run(args: &MemoryArgs, node: &Node) -> Result<String, Box<dyn std::error::Error>> {
    if let Some(name) = &args.alone {
        return alone(args, name, node);
    }
    let mut table =
        Table::new(["bytes of a copy besides its 88", "filled", "evicting", "small, KiB"]);
    for name in NAMES {
        let mut command = Command::new(std::env::current_exe()?);
        let keys = args.keys.to_string();
        let told = command.args(["memory", "--keys", &keys, "--alone", name]).output()?;
        let columns = String::from_utf8(told.stdout)?;
        if !told.status.success() {
            return Err(String::from_utf8_lossy(&told.stderr).into());
        }
        table.row(std::iter::once(name).chain(columns.split_whitespace()));
    }
    let (caches, copies) = SMALL;
    Ok(format!(
        "{} copies fit; resident memory, in which the text and the value are allocated apart, the\n\
         value with the two counts of its Arc; small: of each of {caches} caches with {copies} copies, in \
         all\n\n{table}",
        args.keys
    ))
}

fn alone(args: &MemoryArgs, name: &str, node: &Node) -> Result<String, Box<dyn std::error::Error>> {
    let keys = hit::keys(2 * args.keys);
    let none = resident()?;
    let small: Vec<_> = (0..SMALL.0)
        .filter_map(|_| subjects::make(name, node, DEFAULT_CAPACITY))
        .inspect(|subject| subject.fill(&keys[..SMALL.1]))
        .collect();
    let before = resident()?;
    let each = (before - none) as f64 / small.len() as f64 / 1024.0;
    let subject = subjects::make(name, node, args.keys as u64).ok_or("no such cache")?;
    let (first, more) = keys.split_at(args.keys);
    let mut told = String::new();
    for part in [first, more] {
        subject.fill(part);
        let after = resident()?;
        let held = subject.read(&keys);
        told += &format!("{:.0} ", (after - before) as f64 / held as f64 - PAYLOAD);
    }
    black_box((&subject, &small));
    Ok(format!("{told}{each:.1}"))
}
