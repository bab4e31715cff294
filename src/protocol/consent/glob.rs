//! Globs: `*` stands for any run of characters, everything else for itself.

/// Whether `text` fits `glob`. Linear in both: each piece between stars is sought once, from the left.
#[must_use]
pub fn fits(glob: &str, text: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else { return glob == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*') {
        let Some(at) = text.find(piece) else { return false };
        text = text.get(at + piece.len()..).unwrap_or_default();
    }
    text.ends_with(last)
}

/// As [`fits`], without regard to case.
#[must_use]
pub fn fits_any_case(glob: &str, text: &str) -> bool {
    fits(&glob.to_lowercase(), &text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        let yes = [("*", ""), ("*", "x"), ("a*", "abc"), ("*c", "abc"), ("a*c", "abc"), ("a*b*c", "a-b-b-c"), ("", "")];
        for (glob, text) in yes {
            assert!(fits(glob, text), "{glob} {text}");
        }
        for (glob, text) in [("", "x"), ("a", "ab"), ("a*a", "a"), ("*b*", "ac"), ("a*b*c", "acb"), ("ab*ba", "aba")] {
            assert!(!fits(glob, text), "{glob} {text}");
        }
    }

    #[test]
    fn purposes_are_compared_without_case() {
        assert!(fits_any_case("*ReStock*", "Emergency RESTOCK: adapters"));
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_the_plain_definition(glob in "[ab*]{0,8}", text in "[ab]{0,10}") {
            assert_eq!(fits(&glob, &text), plain(glob.as_bytes(), text.as_bytes()));
        }
    }

    fn plain(glob: &[u8], text: &[u8]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => plain(rest, text),
            (Some((b'*', rest)), Some((_, tail))) => plain(rest, text) || plain(glob, tail),
            (Some((a, rest)), Some((b, tail))) => a == b && plain(rest, tail),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}
