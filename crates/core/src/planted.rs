//! Owns the bugs that can be planted, to show that the simulator finds them.
//! Outside of a build with `--cfg flushcast_planted` none can be, and asking costs nothing.
//!
//! Each is a bug that a real system of this kind has had, this one included. `sim/tests/planted.rs`
//! plants one after the other and says within how many seeds it is found; `sim/tests/model.rs` does
//! the same for those that take a model checker.

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A flush is acknowledged when it is read, and applied later or never.
    AckBeforeApply,
    /// A proof counts from when the answer came.
    ProofFromReceiveTime,
    /// A proof counts without the flushes up to its head.
    HeadLeftOutOfGrant,
    /// A flush of a whole cache leaves loads that are under way.
    WholeCacheFlushLeavesLoads,
    /// A cut-off strict read waits for a load that started before it did.
    CutOffReadJoinsOlderLoad,
    /// A log that was never followed is followed from its head.
    FirstFollowAtHead,
    /// A new life takes a silent node for one that serves nothing, before any lease has run out.
    NewLifeDoesNotWait,
    /// What a dead node told a survivor is not handed over to the others.
    TailNotHandedOver,
    /// A break is healed by distrusting everything, though the log still reaches back.
    WipeInsteadOfReplay,
    /// A log that dropped what a follower has missed goes on without saying so.
    OverflowUnreported,
    /// A refused dial is a proof at once.
    RefusalTrustedWithoutInquest,
    /// An inquest asks only for the life that the asker had met.
    InquestOfKnownLifeOnly,
    /// A new life's flushes are taken for the next ones of its predecessor.
    NewLifeContinuesOldLog,
    /// A flush leaves the load of its key in the flight table.
    KeyFlushLeavesLoad,
    /// A flush of a tag leaves loads that are under way.
    TagFlushLeavesLoads,
    /// A flush of a prefix leaves loads that are under way.
    PrefixFlushLeavesLoads,
    /// A write of the application's own is stored though a flush of its key came between.
    FencedPutStored,
    /// A copy that has expired is served however long ago the last proof was.
    ExpiredBeyondProof,
    /// A survivor that has said `Hello` to a dead node, whose answer may be on its way, says that
    /// it will hear nothing more.
    GreetingOutOfTouch,
}

impl Fault {
    /// Those that the simulator finds soon.
    pub const COMMON: [Fault; 18] = [
        Fault::AckBeforeApply,
        Fault::ProofFromReceiveTime,
        Fault::HeadLeftOutOfGrant,
        Fault::WholeCacheFlushLeavesLoads,
        Fault::CutOffReadJoinsOlderLoad,
        Fault::FirstFollowAtHead,
        Fault::NewLifeDoesNotWait,
        Fault::TailNotHandedOver,
        Fault::WipeInsteadOfReplay,
        Fault::OverflowUnreported,
        Fault::RefusalTrustedWithoutInquest,
        Fault::InquestOfKnownLifeOnly,
        Fault::NewLifeContinuesOldLog,
        Fault::KeyFlushLeavesLoad,
        Fault::TagFlushLeavesLoads,
        Fault::PrefixFlushLeavesLoads,
        Fault::FencedPutStored,
        Fault::ExpiredBeyondProof,
    ];

    /// Those that chance hardly ever brings out: trying everything in a small world does.
    pub const RARE: [Fault; 1] = [Fault::GreetingOutOfTouch];
}

#[cfg(flushcast_planted)]
pub use switch::plant;
#[cfg(flushcast_planted)]
pub(crate) use switch::planted;

#[cfg(flushcast_planted)]
mod switch {
    use std::cell::Cell;

    use super::Fault;

    std::thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Plants a bug on this thread, or with `None` takes it away.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    pub(crate) fn planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

/// Whether the bug is planted on this thread.
#[cfg(not(flushcast_planted))]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}
