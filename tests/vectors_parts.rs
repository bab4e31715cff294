//! parts.json: tags, part salts and commitments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod vector;

use asp_cell::crypto::json::{Rules, read};
use asp_cell::protocol::ids::SubjectRef;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::part::{self, Salt};
use vector::File;

#[test]
fn parts_are_committed_as_the_contract_says() {
    let mut file = File::load(
        "parts.json",
        &["note", "formula"],
        &[
            ("cases", &["salt", "subjectRef", "tag", "part", "valueText", "jcs", "partSalt", "commitment"]),
            ("refusedSubjectRefs", &["subjectRef", "code"]),
            ("refusedSalts", &["salt", "code"]),
        ],
    );
    for case in file.cases("cases") {
        let salt = Salt::parse(case.text("salt")).unwrap();
        let value = Json::of(&read(case.text("valueText").as_bytes(), Rules::REQUEST).unwrap());
        assert_eq!(value.text(), case.text("jcs"), "{}", case.place());

        let (name, part) = match case.maybe_text("subjectRef") {
            None => (case.text("part").to_owned(), salt.part(case.text("part"), value)),
            Some(subject) => {
                let subject: SubjectRef = subject.parse().unwrap();
                assert_eq!(salt.tag(&subject), case.text("tag"), "{}", case.place());
                salt.personal_part(subject, value)
            }
        };
        assert_eq!(name, case.text("part"), "{}", case.place());
        assert!(part::is_name(&name), "{}", case.place());
        assert_eq!(part.salt.to_string(), case.text("partSalt"), "{}", case.place());
        assert_eq!(part.commitment.to_string(), case.text("commitment"), "{}", case.place());
        assert!(part.opens(), "{}", case.place());
    }
    for case in file.cases("refusedSubjectRefs") {
        assert_eq!(case.text("code"), "validation_failed");
        assert!(case.text("subjectRef").parse::<SubjectRef>().is_err(), "{}", case.place());
    }
    for case in file.cases("refusedSalts") {
        assert_eq!(case.text("code"), "validation_failed");
        assert_eq!(Salt::parse(case.text("salt")), None, "{}", case.place());
    }
}
