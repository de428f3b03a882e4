//! How an integration tests itself against the stand-in server: no account, no phone, no network.
//!
//! The first half is the integration, as small as one can be: a customer's stage changed in the CRM, and the address book has to
//! say so. The second half proves what it does on a good day and on four bad ones.
//!
//! ```text
//! cargo run --example test_your_integration     # prints what it proved
//! cargo test --example test_your_integration    # the same checks as tests
//! ```
#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example shows what it did"))]

use std::error::Error;

use wawp_contacts::{
    ChatId, Client, ContactName, ErrorClass,
    testkit::{Answer, Entry, WawpServer},
};

/// A customer as the CRM has it.
struct Customer<'a> {
    phone: &'a str,
    first: &'a str,
    last: &'a str,
    stage: &'a str,
}

/// What the CRM shows next to the customer afterwards.
#[derive(Debug, PartialEq, Eq)]
enum Badge {
    /// The address book says it.
    Named,
    /// The customer's data has to be mended first.
    Mend,
    /// It will be tried again by itself.
    Later,
    /// Nobody can be renamed until a person reconnects the account.
    Reconnect,
}

/// Makes the address book show the customer's new stage.
async fn stage_changed(client: &Client, customer: &Customer<'_>) -> Badge {
    let Ok(chat) = customer.phone.parse::<ChatId>() else { return Badge::Mend };
    let last = format!("{} [{}]", customer.last, customer.stage);
    let Ok(name) = ContactName::new(customer.first, &last) else { return Badge::Mend };
    match client.update_contact(&chat, &name).await {
        Ok(()) => Badge::Named,
        Err(error) => match error.class() {
            ErrorClass::Contact => Badge::Mend,
            ErrorClass::Instance | ErrorClass::Configuration => Badge::Reconnect,
            _ => Badge::Later,
        },
    }
}

const BOB: Customer<'_> = Customer { phone: "+1 (202) 555-0142", first: "Bob", last: "Smith", stage: "Lead" };

type Proof = Result<(), Box<dyn Error>>;

#[cfg_attr(test, tokio::test)]
async fn the_new_stage_replaces_what_the_phone_said() -> Proof {
    let server = WawpServer::start().await;
    let chat = BOB.phone.parse()?;
    server.seed([Entry::saved(&chat, "Bob from the gym").with_pushname("bobby")]);
    assert_eq!(stage_changed(&server.client(), &BOB).await, Badge::Named);
    server.assert_contact(&chat, "Bob Smith [Lead]");
    Ok(())
}

#[cfg_attr(test, tokio::test)]
async fn a_lost_answer_and_a_failing_server_are_ridden_out() -> Proof {
    let server = WawpServer::start().await;
    let chat = BOB.phone.parse()?;
    server.on_update(&chat).drop_answer().once();
    server.on_update(&chat).answer(Answer::engine_conflict()).once();
    assert_eq!(stage_changed(&server.client(), &BOB).await, Badge::Named);
    server.assert_contact(&chat, "Bob Smith [Lead]");
    assert_eq!(server.calls().len(), 3);
    Ok(())
}

#[cfg_attr(test, tokio::test)]
async fn a_bad_number_is_for_the_crm_to_mend() -> Proof {
    let server = WawpServer::start().await;
    let nobody = Customer { phone: "ask Alice", ..BOB };
    assert_eq!(stage_changed(&server.client(), &nobody).await, Badge::Mend);
    assert!(server.calls().is_empty(), "nothing was sent");

    server.on_any_update().answer(Answer::invalid_param("no such person")).once();
    assert_eq!(stage_changed(&server.client(), &BOB).await, Badge::Mend);
    Ok(())
}

#[cfg_attr(test, tokio::test)]
async fn a_revoked_token_asks_for_a_person_and_is_not_hammered() -> Proof {
    let server = WawpServer::start().await;
    server.revoke_token();
    assert_eq!(stage_changed(&server.client(), &BOB).await, Badge::Reconnect);
    assert_eq!(server.calls().len(), 1);
    Ok(())
}

#[cfg_attr(test, tokio::test)]
async fn a_failing_server_is_tried_later() -> Proof {
    let server = WawpServer::start().await;
    server.on_any_update().status(503);
    assert_eq!(stage_changed(&server.client(), &BOB).await, Badge::Later);
    assert_eq!(server.contact(&BOB.phone.parse()?), None);
    Ok(())
}

#[cfg(not(test))]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Proof {
    the_new_stage_replaces_what_the_phone_said().await?;
    println!("proved: the new stage replaces what the phone said");
    a_lost_answer_and_a_failing_server_are_ridden_out().await?;
    println!("proved: a lost answer and a failing server are ridden out");
    a_bad_number_is_for_the_crm_to_mend().await?;
    println!("proved: a bad number is for the CRM to mend");
    a_revoked_token_asks_for_a_person_and_is_not_hammered().await?;
    println!("proved: a revoked token asks for a person and is not hammered");
    a_failing_server_is_tried_later().await?;
    println!("proved: a failing server is tried later");
    Ok(())
}
