//! The page to draw on, as one file: for `kiln serve`, where the server answers, and for a model that is in the page itself and
//! answers there. Both have the same markup, style and board; the last part of the script says who answers.
//!
//! `local/` is the way from a picture to an answer, in JavaScript. What `data/` does to a picture is done there operation by
//! operation, so that the network gets the same bytes.

pub(crate) mod policy;

const DRAWING: &str = include_str!("drawing.html");

/// Markup and script of the page whose server answers.
const SERVER: (&str, &str) = (include_str!("server.html"), include_str!("server.js"));

/// Markup and script of the page that answers itself.
const LOCAL: (&str, [&str; 6]) = (
    include_str!("local/model.html"),
    [
        include_str!("local/picture.js"),
        include_str!("local/paper.js"),
        include_str!("local/strokes.js"),
        include_str!("local/digit.js"),
        include_str!("local/network.js"),
        include_str!("local/model.js"),
    ],
);

/// The page for a server.
pub(crate) fn of_server() -> String {
    let (source, script) = SERVER;
    DRAWING
        .replace("<!-- policy -->\n", "")
        .replace("<!-- model -->\n", "")
        .replace("    <!-- source -->\n", source)
        .replace("/* answers */\n", script)
}

/// The page for a model, in two halves: its elements come between.
pub(crate) fn of_model() -> (String, String) {
    let (source, script) = LOCAL;
    let page = DRAWING.replace("    <!-- source -->\n", source).replace("/* answers */\n", &script.concat());
    let policy = policy::offline(&page);
    let page =
        page.replace("<!-- policy -->", &format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">"));
    let (before, after) = page.split_once("<!-- model -->\n").unwrap_or((&page, ""));
    (before.to_owned(), after.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_use_nothing_from_outside() {
        policy::assert_self_contained(&of_server());
        let (before, after) = of_model();
        policy::assert_self_contained(&(before + &after));
    }

    #[test]
    fn every_part_is_in_its_place() {
        let (before, after) = of_model();
        assert!(!after.is_empty());
        for page in [of_server(), before + &after] {
            for place in ["<!--", "/* answers */"] {
                assert!(!page.contains(place), "{place}");
            }
        }
    }
}
