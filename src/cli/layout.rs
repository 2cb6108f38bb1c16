//! What fits into so many columns: the table of epochs, the line of progress below it, and lines of words. Text comes in and
//! text goes out; it prints nothing and asks no terminal.

use crate::report::{duration, thousands, visible};
use crate::run::EpochMetrics;
use crate::train::observer::Progress;

/// As many columns as a line likes: what is printed into a file or a pipe is not broken.
pub const UNLIMITED: usize = usize::MAX;

/// Between two columns of a table.
const GAP: &str = "  ";

/// What stands behind the best epoch so far.
const MARK: &str = "best";

/// Where the words of a line with a label begin.
const LABEL: usize = 15;

/// A column of the table of epochs.
struct Column {
    /// Its heading where there is room.
    heading: &'static str,
    /// Its heading in two lines.
    short: [&'static str; 2],
    /// How wide it is below the one and below the other.
    widths: [usize; 2],
    /// What it says of an epoch.
    cell: fn(&EpochMetrics, bool) -> String,
    /// Columns of a higher rank go first where there is too little room; 0 stays.
    rank: u8,
}

/// The columns behind the number of the epoch.
const COLUMNS: [Column; 8] = [
    Column {
        heading: "iteration",
        short: ["", "iter."],
        widths: [9, 6],
        cell: |epoch, _| epoch.iteration.to_string(),
        rank: 4,
    },
    Column {
        heading: "learning rate",
        short: ["learning", "rate"],
        widths: [13, 8],
        cell: |epoch, _| format!("{:.3e}", epoch.learning_rate),
        rank: 3,
    },
    Column {
        heading: "train loss",
        short: ["train", "loss"],
        widths: [10, 6],
        cell: |epoch, is_narrow| loss(epoch.train_loss, is_narrow),
        rank: 1,
    },
    Column {
        heading: "train acc.",
        short: ["train", "acc."],
        widths: [10, 7],
        cell: |epoch, _| percent(epoch.train_accuracy),
        rank: 0,
    },
    Column {
        heading: "valid. loss",
        short: ["valid.", "loss"],
        widths: [11, 6],
        cell: |epoch, is_narrow| epoch.validation_loss.map_or_else(none, |value| loss(value, is_narrow)),
        rank: 2,
    },
    Column {
        heading: "valid. acc.",
        short: ["valid.", "acc."],
        widths: [11, 7],
        cell: |epoch, _| epoch.validation_accuracy.map_or_else(none, percent),
        rank: 0,
    },
    Column {
        heading: "images/s",
        short: ["images", "per s"],
        widths: [8, 7],
        cell: |epoch, _| thousands(epoch.images_per_second as u64),
        rank: 5,
    },
    Column { heading: "time", short: ["", "time"], widths: [5, 5], cell: |epoch, _| duration(epoch.seconds), rank: 0 },
];

fn none() -> String {
    "-".to_owned()
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// A loss: four decimals, or as many as six characters hold.
fn loss(value: f64, is_narrow: bool) -> String {
    match value {
        _ if !is_narrow || value < 10.0 => format!("{value:.4}"),
        _ if value < 1000.0 => format!("{value:.2}"),
        _ => format!("{value:.0e}"),
    }
}

/// The table of epochs, as wide as fits.
pub struct EpochTable {
    columns: Vec<&'static Column>,
    is_narrow: bool,
    epochs: usize,
}

impl EpochTable {
    /// The table of a run of `epochs` for lines of `width` columns: headings in one line where they fit, in two where they do
    /// not, and without the columns that matter least where those are still too wide.
    pub fn fitting(width: usize, epochs: usize) -> Self {
        let mut table = Self { columns: COLUMNS.iter().collect(), is_narrow: false, epochs };
        table.is_narrow = table.width() > width;
        while table.width() > width {
            let Some((at, column)) = table.columns.iter().enumerate().max_by_key(|(_, column)| column.rank) else {
                break;
            };
            if column.rank == 0 {
                break;
            }
            table.columns.remove(at);
        }
        table
    }

    /// How wide its widest line is.
    fn width(&self) -> usize {
        let columns = self.columns.iter().map(|column| GAP.len() + column.widths[usize::from(self.is_narrow)]);
        self.of_epoch() + columns.sum::<usize>() + GAP.len() + MARK.len()
    }

    /// How wide the number of the epoch is: `16/16`.
    fn of_epoch(&self) -> usize {
        (2 * self.digits() + 1).max("epoch".len())
    }

    fn digits(&self) -> usize {
        self.epochs.to_string().len().max(2)
    }

    /// The line or the two lines above the numbers.
    pub fn heading(&self) -> String {
        if !self.is_narrow {
            return self.line("epoch", |column| column.heading.to_owned());
        }
        let above = self.line("", |column| column.short[0].to_owned());
        format!("{}\n{}", above.trim_end(), self.line("epoch", |column| column.short[1].to_owned()))
    }

    /// The line of an epoch; `mark` stands behind it.
    pub fn row(&self, metrics: &EpochMetrics, mark: &str) -> String {
        let digits = self.digits();
        let epoch = format!("{:>digits$}/{:<digits$}", metrics.epoch, self.epochs);
        let line = self.line(&epoch, |column| (column.cell)(metrics, self.is_narrow));
        if mark.is_empty() { line } else { format!("{line}{GAP}{mark}") }
    }

    /// The mark of the best epoch.
    pub fn mark() -> &'static str {
        MARK
    }

    fn line(&self, epoch: &str, cell: impl Fn(&Column) -> String) -> String {
        let mut line = format!("{epoch:<width$}", width = self.of_epoch());
        for column in &self.columns {
            let width = column.widths[usize::from(self.is_narrow)];
            line += &format!("{GAP}{:>width$}", cell(column));
        }
        line
    }
}

/// The line of progress, in its parts: before the bar, the bar's two ends, and behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct ProgressLine {
    /// The epoch.
    pub before: String,
    /// What is done.
    pub done: String,
    /// What is left.
    pub left: String,
    /// Iterations, and as much of loss, accuracy, speed and time as fits.
    pub behind: String,
}

impl ProgressLine {
    /// The line for `width` columns; `seconds_left` until the end of the run, if that is known.
    pub fn fitting(width: usize, progress: &Progress, seconds_left: Option<f64>) -> Self {
        // The last column stays free: some terminals go to the next line when it is written to.
        let width = width.saturating_sub(1);
        let before = format!("epoch {:>2}/{}", progress.epoch, progress.epochs);
        let count = format!("{:>4}/{}", progress.iteration, progress.iterations);
        let left = seconds_left.map(|seconds| format!("{} left", duration(seconds)));
        let parts = [
            Some(format!("loss {:.4}", progress.loss)),
            Some(format!("accuracy {:.2} %", progress.accuracy * 100.0)),
            Some(format!("{} images/s", thousands(progress.images_per_second as u64))),
            left,
        ];
        // Which of the parts are shown, and how long the bar is: the first that fits.
        let choices = [
            ([true, true, true, true], 24),
            ([true, true, true, true], 16),
            ([true, true, false, true], 24),
            ([true, true, false, true], 12),
            ([true, false, false, true], 16),
            ([true, false, false, true], 8),
            ([false, false, false, true], 16),
            ([false, false, false, true], 6),
            ([false, false, false, false], 6),
        ];
        let behind = |shown: &[bool; 4]| {
            let shown = parts.iter().zip(shown).filter_map(|(part, shown)| part.as_deref().filter(|_| *shown));
            [count.as_str()].into_iter().chain(shown).collect::<Vec<_>>().join(GAP)
        };
        let fits = |(shown, bar): &&([bool; 4], usize)| before.len() + behind(shown).chars().count() + bar + 2 <= width;
        let (shown, bar) = choices.iter().find(fits).unwrap_or(&choices[choices.len() - 1]);
        let done = (bar * progress.iteration.min(progress.iterations)).checked_div(progress.iterations).unwrap_or(0);
        Self { before, done: "█".repeat(done), left: "░".repeat(bar - done), behind: behind(shown) }
    }
}

/// Rows of cells as lines, each column as wide as its widest cell; those of words stand on the left, the others on the right.
pub fn table<const N: usize>(rows: &[[String; N]], is_words: [bool; N]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(is_words).map(|((cell, width), is_words)| match is_words {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `text` with no line wider than `width`, broken between words. What follows stands below the words of the line's label, or
/// below its beginning. A command stays in one line, on its own where it does not fit, so that it can be copied.
pub fn fold(text: &str, width: usize) -> String {
    text.split('\n').map(|line| fold_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn fold_line(line: &str, width: usize) -> String {
    if visible(line) <= width {
        return line.to_owned();
    }
    let start = words_of(line);
    let (head, words) = line.split_at(start);
    if let Some(at) = command(words) {
        let before = format!("{head}{}", &words[..at]);
        let before = before.trim_end();
        let command = format!("  {}", &words[at..]);
        return if before.is_empty() { command } else { format!("{}\n{command}", fold_line(before, width)) };
    }
    // Where even the words are given too little room below each other, they begin further left.
    let indent = if start * 2 > width { 2 } else { start };
    let mut lines = vec![head.to_owned()];
    let mut is_new = true;
    for word in words.split(' ') {
        let line = lines.last_mut().map_or(0, |line| visible(line));
        let space = usize::from(!is_new);
        if !is_new && line + space + visible(word) > width {
            lines.push(format!("{}{word}", " ".repeat(indent)));
        } else if let Some(last) = lines.last_mut() {
            last.push_str(&" ".repeat(space));
            last.push_str(word);
        }
        is_new = false;
    }
    lines.join("\n")
}

/// Where the words of a line begin: behind its label, or behind its spaces.
fn words_of(line: &str) -> usize {
    let indented = line.len() - line.trim_start_matches(' ').len();
    let is_labelled = line.is_char_boundary(LABEL)
        && line.get(..LABEL).is_some_and(|label| label.ends_with("  "))
        && !line[LABEL..].starts_with(' ');
    if is_labelled { LABEL } else { indented }
}

/// Where in `words` a command begins that somebody may copy.
fn command(words: &str) -> Option<usize> {
    if words.starts_with("kiln ") {
        return Some(0);
    }
    words.find(": kiln ").map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [usize; 5] = [40, 60, 80, 120, 200];

    fn metrics(epoch: usize) -> EpochMetrics {
        EpochMetrics {
            epoch,
            iteration: 550 * epoch,
            learning_rate: 4.167e-4,
            train_loss: 0.4415,
            train_accuracy: 0.864,
            validation_loss: Some(0.102),
            validation_accuracy: Some(0.967),
            validation_balanced_accuracy: None,
            validation_macro_f1: None,
            score: None,
            weights_sha256: String::new(),
            images_per_second: 14_819.0,
            seconds: 3.8,
        }
    }

    fn progress() -> Progress {
        Progress {
            epoch: 3,
            epochs: 16,
            iteration: 310,
            iterations: 550,
            loss: 0.0835,
            accuracy: 0.9738,
            images_per_second: 15_884.0,
        }
    }

    #[test]
    fn the_table_of_epochs_fits_every_width() {
        let shown = WIDTHS.map(|width| {
            let table = EpochTable::fitting(width, 16);
            let text =
                format!("{}\n{}\n{}", table.heading(), table.row(&metrics(1), MARK), table.row(&metrics(12), ""));
            let widest = text.lines().map(visible).max().unwrap();
            assert!(widest <= width, "{widest} > {width}\n{text}");
            format!("{width}\n{text}")
        });
        insta::assert_snapshot!(shown.join("\n\n"), @r"
        40
                 train   valid.
        epoch     acc.     acc.   time
         1/16   86.40%   96.70%  3.8 s  best
        12/16   86.40%   96.70%  3.8 s

        60
                train    train  valid.   valid.
        epoch    loss     acc.    loss     acc.   time
         1/16  0.4415   86.40%  0.1020   96.70%  3.8 s  best
        12/16  0.4415   86.40%  0.1020   96.70%  3.8 s

        80
                       learning   train    train  valid.   valid.   images
        epoch   iter.      rate    loss     acc.    loss     acc.    per s   time
         1/16     550  4.167e-4  0.4415   86.40%  0.1020   96.70%   14,819  3.8 s  best
        12/16    6600  4.167e-4  0.4415   86.40%  0.1020   96.70%   14,819  3.8 s

        120
        epoch  iteration  learning rate  train loss  train acc.  valid. loss  valid. acc.  images/s   time
         1/16        550       4.167e-4      0.4415      86.40%       0.1020       96.70%    14,819  3.8 s  best
        12/16       6600       4.167e-4      0.4415      86.40%       0.1020       96.70%    14,819  3.8 s

        200
        epoch  iteration  learning rate  train loss  train acc.  valid. loss  valid. acc.  images/s   time
         1/16        550       4.167e-4      0.4415      86.40%       0.1020       96.70%    14,819  3.8 s  best
        12/16       6600       4.167e-4      0.4415      86.40%       0.1020       96.70%    14,819  3.8 s
        ");
    }

    #[test]
    fn a_run_of_many_epochs_and_a_loss_that_is_large_stay_in_line() {
        for width in WIDTHS {
            let table = EpochTable::fitting(width, 1000);
            let wild = EpochMetrics {
                train_loss: 123_456.0,
                validation_loss: None,
                validation_accuracy: None,
                ..metrics(1000)
            };
            for line in table.heading().lines().chain([table.row(&wild, "").as_str()]) {
                assert!(visible(line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn the_line_of_progress_fits_every_width() {
        let shown = WIDTHS.map(|width| {
            let ProgressLine { before, done, left, behind } = ProgressLine::fitting(width, &progress(), Some(42.0));
            let line = format!("{before} {done}{left} {behind}");
            assert!(line.chars().count() < width, "{width}: {line}");
            format!("{width:<3} {line}")
        });
        insta::assert_snapshot!(shown.join("\n"), @r"
        40  epoch  3/16 ███░░░  310/550  42 s left
        60  epoch  3/16 ████░░░░  310/550  loss 0.0835  42 s left
        80  epoch  3/16 ██████░░░░░░  310/550  loss 0.0835  accuracy 97.38 %  42 s left
        120 epoch  3/16 █████████████░░░░░░░░░░░  310/550  loss 0.0835  accuracy 97.38 %  15,884 images/s  42 s left
        200 epoch  3/16 █████████████░░░░░░░░░░░  310/550  loss 0.0835  accuracy 97.38 %  15,884 images/s  42 s left
        ");
    }

    #[test]
    fn lines_are_folded_below_their_words_and_commands_stay_whole() {
        let text = "memory         about 78.7 MB: parameters 861 kB, gradients 861 kB, optimizer 1.72 MB\n\
                    next           kiln predict runs/mnist-0001/model.bpk PICTURE\n\
                    tip: go on exactly where it stopped: kiln resume runs/mnist-0001\n\
                    a sentence that is longer than the line that it has to fit into";
        insta::assert_snapshot!(fold(text, 48), @r"
        memory         about 78.7 MB: parameters 861 kB,
                       gradients 861 kB, optimizer 1.72
                       MB
        next
          kiln predict runs/mnist-0001/model.bpk PICTURE
        tip: go on exactly where it stopped:
          kiln resume runs/mnist-0001
        a sentence that is longer than the line that it
        has to fit into
        ");
        assert_eq!(fold(text, UNLIMITED), text);
    }

    #[test]
    fn codes_for_colours_are_not_counted() {
        let text = "\u{1b}[1mbold words\u{1b}[0m and more";
        assert_eq!(fold(text, 19), text);
    }
}
