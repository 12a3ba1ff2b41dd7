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
    RefusalTrustedWithoutAsking,
    /// A peer names only the lost lives that it is asked for.
    OnlyKnownLivesAskedFor,
    /// A new life's flushes are taken for the next ones of its predecessor.
    NewLifeContinuesOldLog,
    /// A flush of a key leaves the load of its key in the flight table.
    KeyFlushLeavesLoad,
    /// A flush of a key names it by its text, even if that reads back as another key.
    KeyFlushedAsAnother,
    /// A flush of a tag leaves loads that are under way.
    TagFlushLeavesLoads,
    /// A flush of a prefix leaves loads that are under way.
    PrefixFlushLeavesLoads,
    /// A write of the application's own is stored though a flush of its key came between.
    FencedPutStored,
    /// A write of the application's own is dropped, and flushed, when its caller goes away; the source changes
    /// behind that.
    PutEndsWithItsCaller,
    /// A fallback takes the place of a copy of the source.
    FallbackReplacesCopy,
    /// A copy that has expired is served however long ago the last proof was.
    ExpiredBeyondProof,
    /// What was told to expire is fresh until its age ends.
    FreshThoughExpired,
    /// Answers from before something came up settle it.
    OldAnswersCount,
    /// A new life at a place counts without anybody being asked about those before it.
    SettledWithoutAsking,
    /// A life is forgotten, and nobody who knows less of it is told.
    ForgottenWithoutAWord,
    /// That somebody has forgotten a life is not heeded.
    OverIgnored,
    /// An answer counts before what it tells of third ones is applied.
    AnswerBeforeTail,
    /// Somebody is in touch with a life that is taken for dead, and that does not matter.
    InTouchIgnored,
    /// A goodbye counts before all flushes from before it are applied.
    ByeWithoutItsHead,
    /// A place is dead when the first of its addresses refuses.
    OneAddressTried,
    /// Who answers at a place without claiming it stands for it by any connection, for ever.
    AliasNeedsNoEvidence,
    /// Two living claimants of a place are none.
    ConflictIgnored,
    /// What a peer hands over of a life moves the books of one that is linked.
    InheritedMovesLinked,
    /// A dead place is settled though another one was not looked at since.
    OtherPlacesNotLookedAt,
    /// A lost life is over at once.
    LostLifeNotSearched,
    /// Strict caches trust refusals.
    StrictTrustsRefusals,
    /// A silent place that is listed no more is gone at no cost.
    SilentPlaceDropped,
    /// A node that is alone is in step for ever, whatever drives it.
    AloneForEver,
    /// What another epoch of a shared log says counts.
    EpochIgnored,
    /// A shared log that has lost what a node has not read goes on without saying so.
    ResetNotSeen,
    /// What is missing in a shared log, by its numbers, is not heeded.
    GapInLogIgnored,
    /// What is missing in a shared log, by its author's numbers, is not heeded.
    GapOfAuthorIgnored,
    /// An adapter numbers what it reads though it has not looked whether something is missing before it.
    HoleNumberedOver,
    /// An adapter reads on behind the highest number, though what has a lower one may become visible later.
    VisibleLateSkipped,
    /// A question does not name the last entry that was read.
    AnchorLeftOut,
    /// An answer that was given up counts for the question that is under way.
    LateAnswersCount,
    /// That a node's row is fresh is decided on when the answer comes.
    FreshAtAnswer,
    /// A flush counts without the engine's acknowledgement.
    NotAcknowledged,
    /// What an epoch before has acknowledged counts in the next one.
    OldReceiptsCount,
    /// What an epoch may have lost is not appended again.
    NotAppendedAgain,
    /// A registry confirms what is served for longer than its rows live.
    LongLeaseEarly,
    /// A registry counts that was asked before the acknowledgement came.
    RegistryAskedBefore,
    /// A flush is confirmed as if no leader that was deposed could answer.
    OverlapIgnored,
    /// A node proves something though it is not registered.
    RowNotNeeded,
    /// A registry counts in an epoch that has only begun.
    ConfirmedInYoungEpoch,
}

impl Fault {
    /// Those that the simulator finds soon.
    pub const COMMON: [Fault; 20] = [
        Fault::ProofFromReceiveTime,
        Fault::HeadLeftOutOfGrant,
        Fault::WholeCacheFlushLeavesLoads,
        Fault::CutOffReadJoinsOlderLoad,
        Fault::FirstFollowAtHead,
        Fault::NewLifeDoesNotWait,
        Fault::TailNotHandedOver,
        Fault::WipeInsteadOfReplay,
        Fault::OverflowUnreported,
        Fault::RefusalTrustedWithoutAsking,
        Fault::OnlyKnownLivesAskedFor,
        Fault::NewLifeContinuesOldLog,
        Fault::KeyFlushLeavesLoad,
        Fault::KeyFlushedAsAnother,
        Fault::TagFlushLeavesLoads,
        Fault::PrefixFlushLeavesLoads,
        Fault::FencedPutStored,
        Fault::PutEndsWithItsCaller,
        Fault::ExpiredBeyondProof,
        Fault::FreshThoughExpired,
    ];

    /// Those that the simple map of one cache finds.
    pub const CACHE: [Fault; 3] =
        [Fault::FencedPutStored, Fault::FallbackReplacesCopy, Fault::FreshThoughExpired];

    /// Those that take an odd world: of who is where, of lives that are over, of flushes that take long.
    pub const PLACES: [Fault; 17] = [
        Fault::AckBeforeApply,
        Fault::OldAnswersCount,
        Fault::SettledWithoutAsking,
        Fault::ForgottenWithoutAWord,
        Fault::OverIgnored,
        Fault::AnswerBeforeTail,
        Fault::InTouchIgnored,
        Fault::ByeWithoutItsHead,
        Fault::OneAddressTried,
        Fault::AliasNeedsNoEvidence,
        Fault::ConflictIgnored,
        Fault::InheritedMovesLinked,
        Fault::OtherPlacesNotLookedAt,
        Fault::LostLifeNotSearched,
        Fault::StrictTrustsRefusals,
        Fault::AloneForEver,
        Fault::SilentPlaceDropped,
    ];

    /// Those of shared logs, which have a world of their own.
    pub const SHARED: [Fault; 19] = [
        Fault::ProofFromReceiveTime,
        Fault::HeadLeftOutOfGrant,
        Fault::EpochIgnored,
        Fault::ResetNotSeen,
        Fault::GapInLogIgnored,
        Fault::GapOfAuthorIgnored,
        Fault::HoleNumberedOver,
        Fault::VisibleLateSkipped,
        Fault::AnchorLeftOut,
        Fault::LateAnswersCount,
        Fault::FreshAtAnswer,
        Fault::RowNotNeeded,
        Fault::ConfirmedInYoungEpoch,
        Fault::NotAcknowledged,
        Fault::OldReceiptsCount,
        Fault::NotAppendedAgain,
        Fault::LongLeaseEarly,
        Fault::RegistryAskedBefore,
        Fault::OverlapIgnored,
    ];
}

#[cfg(flushcast_planted)]
pub use switch::{plant, planted};

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

    /// Whether the bug is planted on this thread.
    pub fn planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

/// Whether the bug is planted on this thread.
#[cfg(not(flushcast_planted))]
pub const fn planted(_: Fault) -> bool {
    false
}
