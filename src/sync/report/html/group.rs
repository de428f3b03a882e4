//! What changes mean to people, and in which words.

use super::out::{Count, Many};
use crate::{
    record::Cause,
    sync::{Action, Change},
};

/// What a change means to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Stage,
    Name,
    TakenOver,
    Rules,
    /// Names of ours over which somebody saved another one.
    Again,
    New,
    /// Renames of which only the number is known.
    Other,
    PutBack,
    /// Names from the phone that lack the tag.
    FromPhone,
}

impl Group {
    pub(super) const ALL: [Self; 9] = [
        Self::Stage,
        Self::Name,
        Self::TakenOver,
        Self::Rules,
        Self::Again,
        Self::FromPhone,
        Self::New,
        Self::Other,
        Self::PutBack,
    ];
    pub(super) const RENAMES: [Self; 6] =
        [Self::Stage, Self::Name, Self::TakenOver, Self::Rules, Self::Again, Self::FromPhone];

    pub(super) fn of(change: &Change) -> Self {
        match (change.action, change.cause) {
            (Action::Create, _) => Self::New,
            (Action::Rename, Cause::Stage) => Self::Stage,
            (Action::Rename, Cause::Name) => Self::Name,
            (Action::Rename, Cause::New) => Self::TakenOver,
            (Action::Rename, Cause::Rules) => Self::Rules,
            (Action::Rename, Cause::Undo) => Self::PutBack,
            (Action::Rename, Cause::Phone) => Self::FromPhone,
            (Action::Rename, Cause::Drift) => Self::Again,
        }
    }

    pub(super) fn words(self, is_plan: bool) -> Words {
        let (one, many, [planned, done], [will, did], why) = match self {
            Self::Stage => (
                "tag",
                "tags",
                ["to change", "changed"],
                ["Tags to change", "Tags changed"],
                "The person is in another stage of the CRM, so the tag follows.",
            ),
            Self::Name => (
                "name",
                "names",
                ["to change", "changed"],
                ["Names to change", "Names changed"],
                "The CRM calls the person something else than before.",
            ),
            Self::TakenOver => (
                "name",
                "names",
                ["to replace", "replaced"],
                ["Names to replace", "Names replaced"],
                "The CRM names the person for the first time, and the address book had another name.",
            ),
            Self::Rules => (
                "name",
                "names",
                ["to restyle", "restyled"],
                ["Names to restyle", "Names restyled"],
                "The naming rules changed: template, tags, placement or limit.",
            ),
            Self::Again => (
                "name of the CRM",
                "names of the CRM",
                ["to write again", "written again"],
                ["Names of the CRM to write again", "Names of the CRM written again"],
                "Somebody saved another name on the phone. It is kept in the history.",
            ),
            Self::New => (
                "",
                "",
                ["new", "new"],
                ["New contacts", "New contacts"],
                "They are in the CRM, and had no name in the address book, as far as is known.",
            ),
            Self::Other => (
                "other name",
                "other names",
                ["to change", "changed"],
                ["Other names to change", "Other names changed"],
                "The report counts them and does not say which they are.",
            ),
            Self::PutBack => (
                "name",
                "names",
                ["to put back", "put back"],
                ["Names to put back", "Names put back"],
                "Each contact gets the name again that it had before the run that is undone.",
            ),
            Self::FromPhone => (
                "name from the phone",
                "names from the phone",
                ["to tag", "tagged"],
                ["Names from the phone to tag", "Names from the phone tagged"],
                "A person saved another name on the phone: it stays, with the tag of the CRM.",
            ),
        };
        let (verb, title) = if is_plan { (planned, will) } else { (done, did) };
        Words { one, many, verb, title, why }
    }
}

pub(super) struct Words {
    one: &'static str,
    many: &'static str,
    verb: &'static str,
    pub(super) title: &'static str,
    pub(super) why: &'static str,
}

impl Words {
    pub(super) fn in_headline(&self, count: u64) -> String {
        let Self { one, many, verb, .. } = self;
        if one.is_empty() { format!("{} {verb}", Count(count)) } else { format!("{} {verb}", Many(count, one, many)) }
    }
}
