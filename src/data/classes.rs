//! What a class may be called: names are printed, compared and sent over HTTP.

use std::collections::HashSet;

use crate::check::Problems;

/// The most classes: as many as a label can tell apart.
const MOST_CLASSES: usize = u16::MAX as usize;

/// The most characters of a class's name.
const LONGEST_NAME: usize = 255;

/// Adds to `key` what is wrong with these names, the first problem of each kind.
pub fn check_class_names(classes: &[String], key: &str, problems: &mut Problems) {
    problems.require((2..=MOST_CLASSES).contains(&classes.len()), key, || {
        format!("must name 2 to {MOST_CLASSES} classes, got {}", classes.len())
    });
    let lengths = classes.iter().map(|name| name.chars().count());
    if let Some(length) = lengths.into_iter().find(|length| !(1..=LONGEST_NAME).contains(length)) {
        problems.add(key, format!("a name must have 1 to {LONGEST_NAME} characters, got {length}"));
    }
    if let Some(name) = classes.iter().find(|name| name.chars().any(is_invisible)) {
        let start = name.chars().take(LONGEST_NAME).collect::<String>();
        let shown = start.escape_debug();
        problems.add(key, format!("a name must have no control characters, got \"{shown}\""));
    }
    let mut seen = HashSet::new();
    if let Some(name) = classes.iter().find(|name| !seen.insert(name.as_str())) {
        let start = name.chars().take(LONGEST_NAME).collect::<String>();
        let shown = start.escape_debug();
        problems.add(key, format!("no two names may be the same, got \"{shown}\" twice"));
    }
}

/// Characters that act on a terminal or on the text round them instead of being seen: control characters, line and
/// paragraph separators, and those that change the direction of writing.
fn is_invisible(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether names say that a mirror makes one class into another, or into none: most are single digits or letters, or one has
/// left or right in it.
pub(crate) fn differ_in_a_mirror(classes: &[String]) -> bool {
    let single = |name: &&String| name.chars().count() == 1 && name.chars().all(char::is_alphanumeric);
    let side = |name: &String| {
        let mut words = name.split(|letter: char| !letter.is_alphanumeric());
        words.any(|word| ["left", "right"].iter().any(|side| word.eq_ignore_ascii_case(side)))
    };
    classes.iter().filter(single).count() * 2 > classes.len() || classes.iter().any(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut problems = Problems::default();
        check_class_names(&names, "classes", &mut problems);
        problems.into_vec().into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn names_that_cannot_be_shown_or_told_apart_are_refused() {
        assert!(problems(&["0", "naïve", "T-shirt/top", "手", "👩‍🚀"]).is_empty());
        assert_eq!(problems(&["a"]), ["must name 2 to 65535 classes, got 1"]);
        assert_eq!(problems(&["a", ""]), ["a name must have 1 to 255 characters, got 0"]);
        assert_eq!(problems(&["a", "b", "a"]), ["no two names may be the same, got \"a\" twice"]);
        for name in ["\u{1b}[31mred", "a\nb", "\u{9b}2J", "abc\u{202e}gnp"] {
            let found = problems(&["a", name]);
            assert!(found[0].starts_with("a name must have no control characters, got \""), "{found:?}");
            assert!(!found[0].chars().any(is_invisible), "{found:?}");
        }
        let long = "x".repeat(256);
        assert_eq!(problems(&["a", &long]), ["a name must have 1 to 255 characters, got 256"]);
    }
}
