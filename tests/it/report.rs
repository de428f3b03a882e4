//! Plans and reports as programs read them.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, from_str, json, to_string};
use wawp_contacts::{
    crm::CrmContact,
    naming::Naming,
    sync::{Plan, Report},
};

use crate::world::{World, all, chat, people, row};

/// JSON in which no object has a key twice.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some((key, Self)) = map.next_entry::<String, Self>()? {
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format!("the key {twice} comes twice")));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

/// A value as it is after it was a text, which no key comes twice in.
#[track_caller]
fn reread<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) -> Value {
    let text = to_string(value).unwrap();
    from_str::<Strict>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(from_str::<T>(&text).unwrap(), *value);
    from_str(&text).unwrap()
}

/// Rows with all that a person should be told: a stage without a tag, a name that is too long, a row that is refused.
fn odd_rows() -> Vec<CrmContact> {
    let mut rows = people(3, "Bob");
    rows[0] = row(0, "Bob").in_stage("Leed");
    rows[1] = row(1, &"x".repeat(200));
    rows[2] = row(2, "");
    rows
}

/// A plan and a run in which every list has something.
async fn told() -> (Plan, Report) {
    let world = World::new();
    let naming = || Naming::new("Lead".parse().unwrap());
    world.named(naming()).run(all(people(6, "Bob"))).await.unwrap();
    let plan = world.named(naming()).plan(all(odd_rows())).await.unwrap();
    let report = world.named(naming()).run(all(odd_rows())).await.unwrap();
    assert_eq!((plan.notes.left.len(), report.notes.left.len()), (3, 3), "{report}");
    assert!(!plan.changes.is_empty() && !report.refusals.is_empty(), "{report}");
    assert!(!report.notes.untagged.is_empty() && !report.notes.shortened.is_empty(), "{report}");
    (plan, report)
}

#[tokio::test(start_paused = true)]
async fn a_plan_and_a_report_have_no_key_twice() {
    let (plan, report) = told().await;
    for value in [reread(&plan), reread(&report)] {
        assert_eq!((&value["untagged"], &value["shortened"], &value["left"]), (&1.into(), &1.into(), &3.into()));
        assert_eq!(value["notes"]["untagged"], json!({"Leed": 1}));
        assert_eq!(value["notes"]["shortened"], json!(["crm-1"]));
        assert_eq!(value["notes"]["left"][0]["crm_id"], "crm-3");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_left_is_named_by_chat_as_in_a_refusal() {
    let (_, report) = told().await;
    let value = reread(&report);
    for (n, left) in (3..).zip(value["notes"]["left"].as_array().unwrap()) {
        assert_eq!((left["chat"].as_str(), left.get("chat_id")), (Some(chat(n).as_str()), None));
    }
    assert_eq!(value["refusals"][0]["chat"], chat(2).as_str());
}
