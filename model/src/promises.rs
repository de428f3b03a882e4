use stateright::{Model as _, Property};
use wawp_contacts::record::{Record, Status};

use crate::{
    Request,
    protocol::{Action, Protocol, number},
    world::{NOW, Phase, World},
};

/// What holds in every state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// P1: when nothing can happen any more, the server shows the last wish, and the record says so.
    NothingLost,
    /// P2: the server never goes from a newer wish back to an older one.
    NeverBackwards,
    /// P3: no call without a wish, a failure or an unknown outcome since the contact was last in sync.
    NoNeedlessCall,
    /// P4: what is written down as sent was acknowledged.
    HonestLedger,
    /// P9: all requests that can take effect at one moment have the same name.
    OneNameAtATime,
    /// P9: every request that can take effect is written down, until it cannot any more.
    WrittenDownFirst,
    /// P10: two workers never both wait for an answer.
    OnePusher,
    /// P10: nothing is stored under an old fence.
    FencesHold,
}

impl Promise {
    /// Every promise.
    pub const ALL: &[Self] = &[
        Self::NothingLost,
        Self::NeverBackwards,
        Self::NoNeedlessCall,
        Self::HonestLedger,
        Self::OneNameAtATime,
        Self::WrittenDownFirst,
        Self::OnePusher,
        Self::FencesHold,
    ];

    /// The name in what the checker prints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingLost => "P1 nothing lost",
            Self::NeverBackwards => "P2 never backwards",
            Self::NoNeedlessCall => "P3 no needless call",
            Self::HonestLedger => "P4 honest ledger",
            Self::OneNameAtATime => "P9 one name at a time",
            Self::WrittenDownFirst => "P9 written down first",
            Self::OnePusher => "P10 one pusher",
            Self::FencesHold => "P10 fences hold",
        }
    }

    fn property(self) -> Property<Protocol> {
        let condition: Condition = match self {
            Self::NothingLost => |model, world| !is_at_rest(model, world) || shows_the_last_wish(model, world),
            Self::NeverBackwards => |_, world| !world.went_back,
            Self::NoNeedlessCall => |_, world| world.allowance >= 0,
            Self::HonestLedger => |_, world| !world.lied,
            Self::OneNameAtATime => |_, world| {
                let mut names = open(world).map(|request| request.name);
                let first = names.next();
                names.all(|name| Some(name) == first)
            },
            Self::WrittenDownFirst => |_, world| open(world).all(|request| is_written_down(&world.record, request)),
            Self::OnePusher => |_, world| open(world).filter(|request| request.worker.is_some()).count() < 2,
            Self::FencesHold => |_, world| !world.wrote_fenced,
        };
        Property::always(self.name(), condition)
    }
}

type Condition = fn(&Protocol, &World) -> bool;

/// The promises, and that what makes them hard does happen within the bounds.
pub(crate) fn properties() -> Vec<Property<Protocol>> {
    let happens: [(&'static str, Condition); 6] = [
        ("it comes to rest", is_at_rest),
        ("a request lands late", |model, world| world.late < model.bounds.late),
        ("another name waits for an older request", |_, world| {
            let doubt = world.record.pushed.in_doubt.as_ref().map(|doubt| doubt.until);
            world.record.status.due_at().is_some_and(|at| at > NOW && Some(at) == doubt)
        }),
        ("another name waits after an acknowledged repeat", |_, world| {
            let late = world.record.pushed.late_until;
            world.record.status.due_at().is_some_and(|at| at > NOW && Some(at) == late)
        }),
        ("an answer meets a newer wish", |_, world| {
            world.workers.iter().any(|worker| matches!(&worker.phase, Phase::Answered(loaded, _) if !loaded.is_current))
        }),
        ("a worker is overtaken", |_, world| world.workers.iter().any(|worker| worker.fence == Some(false))),
    ];
    let promises = Promise::ALL.iter().map(|promise| promise.property());
    promises.chain(happens.map(|(name, condition)| Property::sometimes(name, condition))).collect()
}

/// Whether nothing can happen any more.
fn is_at_rest(model: &Protocol, world: &World) -> bool {
    let mut actions = Vec::new();
    model.actions(world, &mut actions);
    actions.retain(|action| *action != Action::Tick);
    actions.is_empty() && world.ticked().is_none()
}

fn open(world: &World) -> impl Iterator<Item = &Request> {
    world.requests.iter().filter(|request| request.ends > NOW && !request.is_done)
}

fn is_written_down(record: &Record, request: &Request) -> bool {
    let pushed = &record.pushed;
    let doubt = pushed
        .in_doubt
        .as_ref()
        .is_some_and(|doubt| number(&doubt.wish) == request.name && doubt.until >= request.ends);
    let sent = pushed.sent.as_ref().is_some_and(|sent| number(&sent.wish) == request.name);
    doubt || sent && pushed.late_until.is_some_and(|until| until >= request.ends)
}

fn shows_the_last_wish(model: &Protocol, world: &World) -> bool {
    let wishes = &model.bounds.wishes;
    let is_last = usize::from(world.wished) == wishes.len();
    is_last && world.record.status == Status::InSync && wishes.last() == Some(&world.shown)
}
