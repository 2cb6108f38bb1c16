//! The page as one file: its markup, with its style and its script put in.

const MARKUP: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPTS: [&str; 3] = [include_str!("chart.js"), include_str!("list.js"), include_str!("page.js")];

/// The page.
pub(super) fn page() -> String {
    MARKUP.replace("/* style */", STYLE).replace("/* script */", &SCRIPTS.concat())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_uses_nothing_from_outside() {
        crate::page::policy::assert_self_contained(&super::page());
    }
}
