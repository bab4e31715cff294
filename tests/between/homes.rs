//! Which cell an organisation is at home in, whatever a peer says of it.

use asp_cell::protocol::refusal::Code;

use super::net::Net;

const ALL: [&str; 5] = ["card", "content", "metadata", "personal", "trust"];

/// A third cell claims an organisation of the second: neither its claim nor an offer in that name moves anything.
#[test]
fn an_offer_in_anothers_name_moves_no_home() {
    let mut net = Net::new(3);
    net.consent("org0.example", "org1.example", &ALL, "*");
    // The third cell's operator adds the name of an organisation that is at home in the second.
    let cell = 2;
    let stolen = net.org("org1.example", cell);
    net.rest();
    net.offer("org1.example", "org0.example", &ALL, "*");
    net.rest();
    let facts = net.cells[0].shared().unwrap().facts.load_full();
    assert_eq!(facts.cell_of(&stolen).unwrap(), net.cells[1].id);
    assert_eq!(facts.counterpart(&"org0.example".parse().unwrap(), &stolen).unwrap(), net.cells[1].id);
    assert!(net.alarms.iter().any(|alarm| alarm.contains("at home in cell-1")), "{:?}", net.alarms);
    assert_eq!(facts.consents.len(), 1, "the offer was not taken");
}

/// What nobody has agreed to tells nothing of homes.
#[test]
fn an_offer_that_waits_is_no_consent() {
    let mut net = Net::new(2);
    net.offer("org1.example", "org0.example", &ALL, "*");
    net.rest();
    let facts = net.cells[0].shared().unwrap().facts.load_full();
    assert_eq!(facts.cell_of(&"org1.example".parse().unwrap()), None);
    let (buyer, seller) = (net.agent("org0.example/buyer"), net.agent("org1.example/seller"));
    let refused = net.invite(&buyer, &[&seller], "Restock").err().unwrap();
    assert_eq!(refused.code, Code::ConsentMissing);
}
