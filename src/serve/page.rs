//! The page to draw on: one file, served as it is.

/// The page.
pub(super) const PAGE: &str = include_str!("page.html");

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_uses_nothing_from_outside() {
        crate::http::policy::assert_self_contained(super::PAGE);
    }
}
