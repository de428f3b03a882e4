//! The client is an address book, by the book.

use serde_json::json;
use wawp_contacts::{
    AddressBook, Client, address_book_contract,
    book::contract::Stand,
    testkit::{Answer, WawpServer},
};

struct Wawp {
    server: WawpServer,
    client: Client,
}

impl Wawp {
    async fn start() -> Self {
        let server = WawpServer::start().await;
        let client = server.client();
        Self { server, client }
    }
}

impl Stand for Wawp {
    fn book(&self) -> &dyn AddressBook {
        &self.client
    }

    fn requests(&self) -> usize {
        self.server.calls().len() + self.server.reads()
    }

    fn fail(&self) {
        let answer =
            Answer::json(500, &json!({"message": format!("no {} today", self.secret()), "code": self.secret()}));
        self.server.on_any_update().answer(answer.clone());
        self.server.refuse_reads(answer);
    }

    fn secret(&self) -> String {
        self.server.token().to_owned()
    }
}

address_book_contract!(wawp, Wawp::start().await);
