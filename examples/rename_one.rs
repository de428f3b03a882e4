//! Renames one contact: the quick start.
//!
//! ```text
//! cargo run --example rename_one -- "+1 (202) 555-0142" Bob "[Lead]"
//! ```
//!
//! With `WAWP_INSTANCE_ID` and `WAWP_ACCESS_TOKEN` set it renames in that account's address book, otherwise in the one of the
//! embedded stand-in server. The number above is one that nobody has.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::{env, error::Error};

use wawp_contacts::{ChatId, Client, ContactName, testkit::WawpServer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let stand_in = WawpServer::start().await;
    let client = if env::var_os("WAWP_ACCESS_TOKEN").is_some() {
        Client::from_env()?
    } else {
        println!("WAWP_ACCESS_TOKEN is not set: using the embedded stand-in server");
        stand_in.client()
    };

    let mut words = env::args().skip(1);
    let mut word = |default: &str| words.next().unwrap_or_else(|| default.to_owned());
    let chat: ChatId = word("+1 (202) 555-0142").parse()?;
    let name = ContactName::new(&word("Bob"), &word("[Lead]"))?;

    client.update_contact(&chat, &name).await?;
    println!("{chat} is now called {name}");
    Ok(())
}
