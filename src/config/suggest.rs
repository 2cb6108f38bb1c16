//! "Did you mean …?": the nearest allowed word, and what other trainers call the same key.

/// Names that other trainers give to kiln's keys, and the likelier of two keys of one name.
const FOREIGN: [(&str, &str); 31] = [
    ("epochs", "train.epochs"),
    ("lr", "optimizer.learning_rate"),
    ("lr0", "optimizer.learning_rate"),
    ("max_lr", "optimizer.learning_rate"),
    ("bs", "train.batch_size"),
    ("batch", "train.batch_size"),
    ("max_epochs", "train.epochs"),
    ("num_epochs", "train.epochs"),
    ("n_epochs", "train.epochs"),
    ("steps_per_epoch", "train.iterations_per_epoch"),
    ("grad_accum", "train.accumulation"),
    ("grad_accum_steps", "train.accumulation"),
    ("gradient_accumulation_steps", "train.accumulation"),
    ("accumulate_grad_batches", "train.accumulation"),
    ("grad_clip", "train.clip_norm"),
    ("clip_grad", "train.clip_norm"),
    ("max_grad_norm", "train.clip_norm"),
    ("gradient_clip_val", "train.clip_norm"),
    ("amp", "train.precision"),
    ("mixed_precision", "train.precision"),
    ("warmup", "schedule.warmup_epochs"),
    ("smoothing", "loss.label_smoothing"),
    ("validation_split", "data.validation"),
    ("wd", "optimizer.weight_decay"),
    ("backend", "device"),
    ("eps", "optimizer.epsilon"),
    ("betas", "optimizer.beta_1"),
    ("step_size", "schedule.every_epochs"),
    ("decay_rate", "schedule.gamma"),
    ("div_factor", "schedule.initial_ratio"),
    ("eta_min", "schedule.final_ratio"),
];

/// The word of `allowed` that `found` is most likely meant to be.
pub(super) fn nearest<'a>(found: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_lowercase().replace('-', "_");
    let near = |word: &&str| {
        let edits = strsim::damerau_levenshtein(&found, word);
        edits <= (word.len() / 4).max(1) || (word.len() > 3 && strsim::jaro_winkler(&found, word) > 0.88)
    };
    allowed
        .into_iter()
        .filter(near)
        .min_by(|a, b| strsim::jaro_winkler(&found, b).total_cmp(&strsim::jaro_winkler(&found, a)))
}

/// The key path that an unknown key `found` in `section` is most likely meant to be: one beside it, one of another
/// trainer's names, or a key of that name elsewhere.
pub(super) fn key(section: &str, found: &str, siblings: &[&str]) -> Option<String> {
    if let Some(sibling) = nearest(found, siblings.iter().copied()) {
        return Some(super::tree::join(section, sibling));
    }
    if let Some((_, path)) = FOREIGN.iter().find(|(name, _)| *name == found.to_lowercase().replace('-', "_")) {
        return Some((*path).to_owned());
    }
    let keys = super::keys::keys();
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let word = nearest(found, keys.iter().map(|key| last(&key.path)))?;
    keys.iter().find(|key| last(&key.path) == word).map(|key| key.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_suggested() {
        let words = ["epochs", "batch_size", "drop_last"];
        assert_eq!(nearest("epohcs", words), Some("epochs"));
        assert_eq!(nearest("Batch-Size", words), Some("batch_size"));
        assert_eq!(nearest("zebra", words), None);
        assert_eq!(key("", "epochs", &["name", "seed"]).as_deref(), Some("train.epochs"));
        assert_eq!(key("train", "lr", &["epochs"]).as_deref(), Some("optimizer.learning_rate"));
        assert_eq!(key("", "quux", &["name"]), None);
    }

    #[test]
    fn every_foreign_name_leads_to_a_key_that_exists() {
        for (name, path) in FOREIGN {
            assert!(super::super::keys::keys().iter().any(|key| key.path == path), "{name} -> {path}");
        }
    }
}
