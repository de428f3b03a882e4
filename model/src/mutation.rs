/// A breakage of the protocol, built in to see that the checker finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// The request leaves before its mark is stored.
    MarkAfterCall,
    /// Another name is begun at once, whatever can still land.
    NoWaitForOlderRequests,
    /// The end of the mark is not looked at right before the call.
    NoMarkCheckBeforeCall,
    /// The end of the lease is not looked at right before the call.
    NoLeaseCheckBeforeCall,
    /// A mark is stored without its revision.
    NoRevisionOnMark,
    /// An answer is stored without its revision.
    NoRevisionOnSettle,
    /// A wish is stored without its revision.
    NoRevisionOnWish,
    /// An answer is stored without its fence.
    NoFenceOnSettle,
    /// An acknowledged repeat forgets the requests before it.
    LateForgotten,
    /// An unknown outcome is taken for a failure without effect.
    DoubtClearedOnTimeout,
    /// A lease is given out while another one is held.
    LeaseBeforeExpiry,
    /// A new owner starts with a clean slate.
    TakeoverForgetsMarks,
    /// A new owner takes a mark for an acknowledgement.
    TakeoverBelievesMarks,
    /// An acknowledgement is written down for the newest wish.
    SettledWithTheWish,
    /// An answer whose record was stored by somebody else meanwhile is dropped.
    LostSettleDropped,
    /// A new wish clears the mark of the older one.
    WishClearsMark,
    /// A request that came to nothing answers for the ones before it.
    UnansweredForgotten,
    /// The call is made with the newest wish in place of the marked name.
    CallWithTheWish,
}

impl Mutation {
    /// Every breakage.
    pub const ALL: &[Self] = &[
        Self::MarkAfterCall,
        Self::NoWaitForOlderRequests,
        Self::NoMarkCheckBeforeCall,
        Self::NoLeaseCheckBeforeCall,
        Self::NoRevisionOnMark,
        Self::NoRevisionOnSettle,
        Self::NoRevisionOnWish,
        Self::NoFenceOnSettle,
        Self::LateForgotten,
        Self::DoubtClearedOnTimeout,
        Self::LeaseBeforeExpiry,
        Self::TakeoverForgetsMarks,
        Self::TakeoverBelievesMarks,
        Self::SettledWithTheWish,
        Self::LostSettleDropped,
        Self::WishClearsMark,
        Self::UnansweredForgotten,
        Self::CallWithTheWish,
    ];
}
