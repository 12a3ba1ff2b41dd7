//! Owns one life of a small cluster: a real core, and an ear in the place of its caches.
//! It must never do anything of its own: all that happens to it is a choice.

use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::{Caches, Guarantee, Proof};
use flushcast_core::flush::LogLimits;
use flushcast_core::node::{Input, Limits, Node, NodeConfig, Work};

use crate::ear::{Ear, ToEar};
use crate::member::{address_of, incarnation_of, name_of};

/// The one cache of each.
pub(super) const CACHE: &str = "small";

#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: u64,
    /// How many flushes there were before: it holds nothing that they name.
    pub(super) before: usize,
    pub(super) core: Node,
    pub(super) caches: Arc<Caches>,
    pub(super) heard: Arc<Ear>,
    pub(super) proof: Arc<Proof>,
}

impl Life {
    pub(super) fn begin(number: u64, slot: usize, before: usize) -> Self {
        let (heard, caches) = (Arc::<Ear>::default(), Arc::<Caches>::default());
        let flushable = Arc::new(ToEar(Arc::clone(&heard)));
        let registered = caches.register(CACHE, Guarantee::default(), Duration::ZERO, flushable);
        assert!(registered.is_ok(), "new registry");
        let proof = caches.proof(Guarantee::default());
        let config = NodeConfig {
            cluster: "small".to_owned(),
            name: name_of(slot),
            incarnation: incarnation_of(number),
            address: address_of(slot),
            labels: Default::default(),
            log: LogLimits::default(),
            sources: 1,
            fixed: None,
            trust_refusals: Some(true),
            limits: Limits::default(),
            seed: number,
        };
        let core = Node::new(config, Arc::clone(&caches));
        Self { number, before, core, caches, heard, proof }
    }

    /// Applies all that was heard, at once.
    pub(super) fn apply(&mut self, now: Time) {
        while let Some(of) = self.core.lives_with_work() {
            let Work::Apply(batch) = self.core.take_work_of(of) else { continue };
            self.caches.begin(Time::ZERO, batch.flushes()).finish();
            let widened = Vec::new();
            self.core.handle(now, Input::Applied { life: of, upto: batch.upto, widened });
        }
    }
}
