//! The policy of a page that is one file: the browser runs and paints with nothing but what is in it, and talks to nobody
//! or to nobody but the server that it came from.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest as _, Sha256};

/// The `Content-Security-Policy` of `page`: its own script and style, by digest, and its server.
pub(crate) fn of(page: &str) -> String {
    format!("{}; connect-src 'self'; frame-ancestors 'none'", offline(page))
}

/// The same for a page that talks to nobody; it may stand in the page.
pub(crate) fn offline(page: &str) -> String {
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data: blob:; base-uri 'none'; form-action 'none'",
        digest(between(page, "<script>", "</script>")),
        digest(between(page, "<style>", "</style>")),
    )
}

fn between<'a>(page: &'a str, open: &str, close: &str) -> &'a str {
    let rest = page.split_once(open).map_or("", |(_, rest)| rest);
    rest.split_once(close).map_or("", |(inside, _)| inside)
}

/// SHA-256 in base64.
fn digest(text: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(text.as_bytes()))
}

/// # Panics
/// When `page` takes anything from elsewhere, or could run what it shows.
#[cfg(test)]
pub(crate) fn assert_self_contained(page: &str) {
    assert!(!between(page, "<style>", "</style>").is_empty());
    assert!(!between(page, "<script>", "</script>").is_empty());
    for foreign in ["https:", "//cdn", "url(", "@import", " style=", " onclick", "innerHTML", "outerHTML", "eval("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(!page.replace("http://www.w3.org/2000/svg", "").contains("http:"));
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("<style").count(), 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_as_browsers_compute_them() {
        assert_eq!(digest("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
