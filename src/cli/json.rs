//! What `--json` prints: said in the help of each command.

/// When JSON is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// One value at the end
    End,
    /// One value per line as things happen: "run", "epoch", then "result" or "error"
    Stream,
}

/// The summary of a run, as its `run.json` keeps it.
const SUMMARY: &str = "the summary of the run: run_dir, model, best_epoch, accuracies, times; with --json=stream an object per \
                       epoch before it";

/// What each command prints.
const PRINTED: [(&str, &str); 28] = [
    ("plan", "the plan: images, batches, iterations, learning rates, layers, memory"),
    ("data", "the counts and findings of the data set"),
    ("new", "the config that was written and what it was made from"),
    ("tune", "the curve, and the suggested value"),
    ("train", SUMMARY),
    ("resume", SUMMARY),
    ("extend", SUMMARY),
    ("fork", SUMMARY),
    ("eval", "the evaluation: accuracy and its interval, loss, calibration, each class, the confusion matrix"),
    ("compare", "the comparison: each pair with its difference, interval, p-value and verdict"),
    ("sweep", "the ranking of the trials and the winner"),
    ("report", "everything that the page shows, as data"),
    ("board", "the address of the page, when it can be opened"),
    ("runs", "what is shown, as data: a list for `ls`, an object for the others"),
    ("predict", "an object per picture, one per line: picture, label, probability, top; or picture, error"),
    ("serve", "the address, when it answers"),
    ("export", "the file, its size, and how far its answers are from the model's"),
    ("import", "the file and its test accuracy"),
    ("ensemble", "the file, its members, and what they reach together"),
    ("verify", "whether it passed, the digest, and how far the answers are from those at export"),
    ("verify-resume", "whether the two runs are the same, and their digests"),
    ("worker", "the address, when it listens; with --json=stream an object for every run that comes and goes"),
    ("bench", "the speeds; with --profile every operation"),
    ("explain", "the iteration: shapes, losses, gradients, updates"),
    ("config", "the config, the list of keys, or the schema"),
    ("devices", "the backends, their adapters, and what auto chooses"),
    ("completions", "no JSON: the script"),
    ("man", "no JSON: the pages"),
];

/// `command` with what its commands print for programs at the end of their help.
pub fn told(mut command: clap::Command) -> clap::Command {
    for (name, what) in PRINTED {
        // A build without a feature has not all of them.
        if command.find_subcommand(name).is_none() {
            continue;
        }
        command = command.mut_subcommand(name, |inner| {
            let before = inner.get_after_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
            inner.after_help(format!("{before}With --json: {what}."))
        });
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_says_what_comes() {
        let command = super::super::command();
        for inner in command.get_subcommands() {
            assert!(PRINTED.iter().any(|(name, _)| *name == inner.get_name()), "{}", inner.get_name());
            assert!(inner.get_after_help().is_some_and(|help| help.to_string().contains("With --json: ")));
        }
    }
}
