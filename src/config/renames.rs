//! Keys that once had another name. The old names go on working, in files and with `--set`, with a notice.

use super::tree::{Node, Value};
use super::walk::Located;

/// The old name of a key, and the new one, which is in the same section.
const RENAMED: [(&str, &str); 4] = [
    ("schedule.rise", "schedule.pct_start"),
    ("schedule.initial_share", "schedule.initial_ratio"),
    ("schedule.final_share", "schedule.final_ratio"),
    ("schedule.factor", "schedule.gamma"),
];

/// Gives every key of `root` its new name. What is given under both names comes back as a problem.
pub(super) fn in_tree(root: &mut Node, notices: &mut Vec<String>) -> Vec<Located> {
    let mut problems = Vec::new();
    for (old, new) in RENAMED {
        let ((section, old_key), (_, new_key)) = (parts(old), parts(new));
        let Value::Table(sections) = &mut root.value else { return problems };
        let section = sections.iter_mut().find(|entry| entry.key == section);
        let Some(Value::Table(entries)) = section.map(|entry| &mut entry.node.value) else { continue };
        let Some(index) = entries.iter().position(|entry| entry.key == old_key) else { continue };
        if entries.iter().any(|entry| entry.key == new_key) {
            let place = Some(entries.remove(index).place);
            let message = format!("is the old name of `{new}`, which is given too; remove it");
            problems.push(Located { place, key: old.to_owned(), message });
        } else {
            entries[index].key = new_key.to_owned();
            notice(old, new, notices);
        }
    }
    problems
}

/// Gives the key path of a `--set` its new name.
pub(super) fn in_path(path: &mut [&str], notices: &mut Vec<String>) {
    let [section, key] = path else { return };
    if let Some((old, new)) = RENAMED.iter().find(|(old, _)| parts(old) == (*section, *key)) {
        *key = parts(new).1;
        notice(old, new, notices);
    }
}

fn notice(old: &str, new: &str, notices: &mut Vec<String>) {
    let notice = format!("`{old}` is now `{new}`; the old name still works");
    if !notices.contains(&notice) {
        notices.push(notice);
    }
}

fn parts(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_new_name_is_a_key_and_no_old_one_is() {
        let known = |path: &str| crate::config::keys::keys().iter().any(|key| key.path == path);
        for (old, new) in RENAMED {
            assert!(known(new) && !known(old), "{old} -> {new}");
            assert_eq!(parts(old).0, parts(new).0);
        }
    }
}
