//! Curves in the terminal: eight dots in each character, by braille patterns.

use super::terminal::{padded, visible};
use crate::run::EpochMetrics;

/// Lines that a chart has, without its title and its axis.
const ROWS: usize = 8;

/// Characters before the axis.
pub(super) const GUTTER: usize = 8;

/// From this width on, two charts stand side by side.
const BESIDE: usize = 100;

/// The bit of each dot of a character, by row and column.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// A line of a chart: its name, one value for each place where there is one, the code of its colour, and whether it is
/// drawn in dots where it is not alone.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) values: Vec<Option<f64>>,
    pub(super) code: u8,
    pub(super) dotted: bool,
}

/// Loss and accuracy over the epochs, of training in dots and of validation in a line, `width` characters wide; with the
/// `best` epoch marked. Nothing when no epoch is finished. With `colour`, the lines have ANSI codes.
pub fn curves(epochs: &[EpochMetrics], best: Option<usize>, width: usize, colour: bool) -> String {
    if epochs.is_empty() {
        return String::new();
    }
    let lines = |train: fn(&EpochMetrics) -> f64, validation: fn(&EpochMetrics) -> Option<f64>| {
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let of_train = epochs.iter().map(|epoch| finite(Some(train(epoch)))).collect();
        let of_validation = epochs.iter().map(|epoch| finite(validation(epoch))).collect();
        [
            Line { name: "train", values: of_train, code: 36, dotted: true },
            Line { name: "validation", values: of_validation, code: 33, dotted: false },
        ]
    };
    let beside = width >= BESIDE;
    let width = if beside { (width - 2) / 2 } else { width };
    let columns = width.saturating_sub(GUTTER + 1).max(8);
    let chart = |title: &str, lines: &[Line], format: fn(f64) -> String| {
        let places = epochs.iter().map(|epoch| epoch.epoch.to_string()).collect();
        let mark = epochs.iter().position(|epoch| Some(epoch.epoch) == best);
        Plot { columns, colour, unit: "epoch", places, mark, format }.draw(title, lines)
    };
    let loss = lines(|epoch| epoch.train_loss, |epoch| epoch.validation_loss);
    let accuracy = lines(|epoch| epoch.train_accuracy, |epoch| epoch.validation_accuracy);
    let loss = chart("loss", &loss, |value| format!("{value:.4}"));
    let accuracy = chart("accuracy", &accuracy, |value| format!("{:.2}%", value * 100.0));
    let joined: Vec<String> = match beside {
        true => loss.iter().zip(&accuracy).map(|(left, right)| format!("{}  {right}", padded(left, width))).collect(),
        false => loss.into_iter().chain([String::new()]).chain(accuracy).collect(),
    };
    joined.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// Where lines are drawn.
pub(super) struct Plot {
    /// Characters across.
    pub(super) columns: usize,
    pub(super) colour: bool,
    /// What the places are.
    pub(super) unit: &'static str,
    /// What each place is called.
    pub(super) places: Vec<String>,
    /// The place that is marked.
    pub(super) mark: Option<usize>,
    pub(super) format: fn(f64) -> String,
}

impl Plot {
    /// The lines of the chart, the title first.
    pub(super) fn draw(&self, title: &str, lines: &[Line]) -> Vec<String> {
        let drawn: Vec<&Line> = lines.iter().filter(|line| line.values.iter().any(Option::is_some)).collect();
        let values = || drawn.iter().flat_map(|line| line.values.iter().flatten().copied());
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let mut cells = vec![(0_u32, None); self.columns * ROWS];
        for line in &drawn {
            self.trace(line, (low, high), drawn.len() > 1 && line.dotted, &mut cells);
        }
        let names: Vec<String> = drawn
            .iter()
            .map(|line| {
                let sample = if drawn.len() > 1 && line.dotted { "⠐⠐" } else { "⠒⠒" };
                format!("{} {}", self.coloured(sample, line.code), line.name)
            })
            .collect();
        let mut text = vec![format!("{title:>GUTTER$}  {}", names.join("  "))];
        for (row, cells) in cells.chunks(self.columns).enumerate() {
            let label = match row {
                _ if values().next().is_none() => String::new(),
                0 => (self.format)(high),
                row if row == ROWS - 1 => (self.format)(low),
                _ => String::new(),
            };
            text.push(format!("{label:>GUTTER$}│{}", self.row(cells)));
        }
        text.push(format!("{:>GUTTER$}└{}", "", "─".repeat(self.columns)));
        text.push(format!("{:>GUTTER$} {}", self.unit, self.axis()));
        text
    }

    /// Draws a line, or with `dotted` every second dot of it.
    fn trace(&self, line: &Line, (low, high): (f64, f64), dotted: bool, cells: &mut [(u32, Option<u8>)]) {
        let (across, down) = (self.columns * 2, ROWS * 4);
        let span = if high > low { high - low } else { 1.0 };
        let places = line.values.len();
        let mut before = None;
        for x in 0..across {
            // One epoch is a level line.
            let place = if places > 1 { x as f64 * (places - 1) as f64 / (across - 1) as f64 } else { 0.0 };
            let (from, to) = (place as usize, (place as usize + 1).min(places - 1));
            let (Some(from), Some(to)) = (line.values[from], line.values[to]) else {
                before = None;
                continue;
            };
            let value = from + (to - from) * place.fract();
            let share = if high > low { (value - low) / span } else { 0.5 };
            let y = ((1.0 - share) * (down - 1) as f64).round() as usize;
            // A steep line is drawn without gaps.
            let start = before
                .filter(|_| !dotted)
                .map_or(y, |before: usize| if before < y { before + 1 } else { before.max(1) - 1 });
            before = Some(y);
            if dotted && x % 2 == 1 {
                continue;
            }
            for y in start.min(y)..=start.max(y) {
                let (bits, code) = &mut cells[y / 4 * self.columns + x / 2];
                *bits |= DOTS[y % 4][x % 2];
                *code = Some(line.code);
            }
        }
    }

    fn row(&self, cells: &[(u32, Option<u8>)]) -> String {
        let mut text = String::new();
        let mut now = None;
        for (bits, code) in cells {
            if *code != now && self.colour {
                text += &code.map_or("\u{1b}[0m".to_owned(), |code| format!("\u{1b}[{code}m"));
            }
            now = *code;
            text.push(if *bits == 0 { ' ' } else { char::from_u32(0x2800 + bits).unwrap_or(' ') });
        }
        if now.is_some() && self.colour {
            text += "\u{1b}[0m";
        }
        text
    }

    fn coloured(&self, text: &str, code: u8) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The first place and the last one, and the marked one where there is room for it.
    fn axis(&self) -> String {
        let [first, .., last] = &self.places[..] else { return self.places.concat() };
        let mut text = padded(first, self.columns - last.len()) + last;
        if let Some(place) = self.mark.filter(|place| *place > 0 && *place + 1 < self.places.len()) {
            let mark = format!("▲ {}", self.places[place]);
            let at = place * (self.columns - 1) / (self.places.len() - 1);
            let (start, end) = (first.len() + 1, self.columns - last.len());
            if at >= start && at + visible(&mark) < end {
                text =
                    text.chars().take(at).chain(mark.chars()).chain(text.chars().skip(at + visible(&mark))).collect();
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(count: usize, validation: bool) -> Vec<EpochMetrics> {
        let epoch = |number: usize| {
            let share = number as f64 / count as f64;
            EpochMetrics {
                epoch: number,
                iteration: 10 * number,
                learning_rate: 0.1,
                train_loss: 2.0 / number as f64,
                train_accuracy: 0.5 + 0.45 * share.sqrt(),
                validation_loss: validation.then(|| 1.5 / number as f64 + 0.6 * share * share),
                validation_accuracy: validation.then(|| 0.6 + 0.3 * share.sqrt()),
                validation_balanced_accuracy: None,
                validation_macro_f1: None,
                score: None,
                weights_sha256: String::new(),
                images_per_second: 1.0,
                seconds: 1.0,
            }
        };
        (1..=count).map(epoch).collect()
    }

    #[test]
    fn curves_fit_into_40_columns() {
        let expected = [
            "    loss  ⠐⠐ train  ⠒⠒ validation",
            "  2.0000│⠁",
            "        │",
            "        │⢱⠁",
            "        │ ⢇",
            "        │ ⠘⡅⡀",
            "        │  ⠑⢄⠄⡀                   ⢀⣀⣠⣤⠴⠶",
            "        │    ⠑⠣⠶⣤⣤⣤⣀⣀⣀⣀⣀⣤⣤⣤⣤⡤⠶⠶⠖⠛⠛⠉⠉",
            "  0.1250│          ⠉⠉⠉⠋⠃⠂⠂⠄⠄⠄⠄⠄⠄⠄⠄⡀⡀⡀⡀⡀⡀",
            "        └───────────────────────────────",
            "   epoch 1               ▲ 9          16",
            "",
            "accuracy  ⠐⠐ train  ⠒⠒ validation",
            "  95.00%│                          ⡀⠄⠄⠂⠁",
            "        │                    ⡀⡀⢄⣂⣁⣥⡤⠶⠖⠛⠛",
            "        │               ⣀⣀⣤⡦⠷⠚⠛⠉⠉⠁",
            "        │         ⣀⣠⡤⠶⠚⠛⠉⠁",
            "        │    ⢀⣠⠴⠖⠏⠋⠁",
            "        │ ⢀⠴⠚⠉⠄⠂⠁",
            "        │⠚⠁⡀⠂⠁",
            "  61.25%│⡀⠂",
            "        └───────────────────────────────",
            "   epoch 1               ▲ 9          16",
        ];
        assert_eq!(curves(&epochs(16, true), Some(9), 40, false).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn curves_fit_into_80_columns() {
        let expected = [
            "    loss  ⠐⠐ train  ⠒⠒ validation",
            "  2.0000│⠁",
            "        │ ⠁⡀",
            "        │⠱⡀ ⡀",
            "        │ ⠈⢢ ⠄",
            "        │   ⠑⡄⠂⠄⡀",
            "        │    ⠈⠚⠴⢆⡅⣄⠄⡀                                             ⢀⣀⣀⣀⣀⣀⣤⣤⣤⣤⠴⠶⠶⠶",
            "        │        ⠈⠉⠚⠛⠣⠷⠶⢆⣦⣤⣤⣤⣤⣤⣤⡄⣀⣀⣀⣀⣀⣀⣀⣀⣀⣤⣤⣤⣤⣤⣤⣤⣤⣤⣤⣤⠴⠶⠶⠶⠶⠶⠶⠖⠛⠛⠛⠛⠛⠉⠉⠉⠉⠉⠁",
            "  0.1250│                       ⠈⠉⠉⠉⠉⠉⠉⠋⠋⠃⠂⠂⠂⠂⠂⠂⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⡀⡀⡀⡀⡀⡀⡀⡀⡀⡀⡀⡀⡀⡀⡀",
            "        └───────────────────────────────────────────────────────────────────────",
            "   epoch 1                                    ▲ 9                             16",
            "",
            "accuracy  ⠐⠐ train  ⠒⠒ validation",
            "  95.00%│                                                           ⡀⡀⡀⠄⠄⠄⠄⠂⠂⠂⠁⠁",
            "        │                                              ⡀⡀⡀⠄⠄⢄⣂⣂⣂⣂⣥⣥⣥⣤⡤⠶⠶⠶⠶⠶⠚⠛⠛⠛⠛",
            "        │                                  ⢀⣀⣀⣀⣤⣤⣦⣦⠶⠷⠷⠷⠖⠛⠛⠛⠛⠉⠉⠉⠉⠁",
            "        │                    ⢀⣀⣀⣠⣤⣤⡤⡶⠶⠶⠚⠛⠛⠛⠉⠉⠉⠉",
            "        │         ⢀⣀⣀⣤⣤⠴⠶⠶⡚⡛⠟⠍⠋⠋⠁⠁",
            "        │  ⣀⣠⣤⠴⠶⠚⠛⠉⡉⠅⠄⠂⠂⠁⠁",
            "        │⠚⠋⠉ ⡀⡀⠄⠂⠁⠁",
            "  61.25%│⡀⠄⠂⠁",
            "        └───────────────────────────────────────────────────────────────────────",
            "   epoch 1                                    ▲ 9                             16",
        ];
        assert_eq!(curves(&epochs(16, true), Some(9), 80, false).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn curves_stand_side_by_side_in_120_columns() {
        let expected = [
            "    loss  ⠐⠐ train  ⠒⠒ validation                            accuracy  ⠐⠐ train  ⠒⠒ validation",
            "  2.0000│⠁                                                     95.00%│                                         ⡀⡀⡀⠄⠄⠂⠂⠂⠁",
            "        │ ⠂                                                          │                                 ⡀⡀⠄⢄⣂⣂⣡⣥⣤⡤⠶⠶⠶⠖⠛⠛⠛",
            "        │⠱⡀⠄                                                         │                        ⢀⣀⣀⣤⣤⡦⠶⠷⠗⠛⠛⠛⠉⠉⠉",
            "        │ ⠱⡀⡀                                                        │              ⢀⣀⣠⣤⡤⠶⠶⠚⠛⠛⠉⠉⠁",
            "        │  ⠱⡀⠄⡀                                                      │       ⣀⣠⣤⠴⠶⡚⠟⠍⠋⠁⠁",
            "        │   ⠘⠣⣠⢂⠄⡀                               ⢀⣀⣀⣀⣠⣤⣤⠴⠶⠶          │ ⢀⣀⡤⠶⠚⠋⡉⠄⠂⠂⠁",
            "        │      ⠉⠚⠛⠵⠶⣢⣤⣤⣤⣤⡄⣀⣀⣀⣀⣀⣀⣠⣤⣤⣤⣤⣤⣤⣤⠴⠶⠶⠶⠶⠚⠛⠛⠛⠉⠉⠉⠉                │⠚⠉⠁⡀⠄⠂⠁",
            "  0.1250│                ⠈⠉⠉⠉⠉⠋⠋⠂⠂⠂⠂⠂⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⡀⡀⡀⡀⡀⡀⡀⡀⡀⡀    61.25%│⡀⠄⠁",
            "        └──────────────────────────────────────────────────          └──────────────────────────────────────────────────",
            "   epoch 1                         ▲ 9                   16     epoch 1                         ▲ 9                   16",
        ];
        assert_eq!(curves(&epochs(16, true), Some(9), 120, false).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_width_is_exceeded_and_none_panics() {
        for width in 40..=200 {
            for (count, validation) in [(1, true), (2, false), (3, true), (500, true)] {
                for colour in [false, true] {
                    let text = curves(&epochs(count, validation), Some(count / 2 + 1), width, colour);
                    let widest = text.lines().map(visible).max().unwrap();
                    assert!(widest <= width, "{widest} of {width}\n{text}");
                    assert_eq!(text.contains('\u{1b}'), colour);
                }
            }
        }
        assert_eq!(curves(&[], None, 80, false), "");
    }

    #[test]
    fn values_that_are_no_numbers_leave_a_gap() {
        let mut found = epochs(5, true);
        found[2].train_loss = f64::NAN;
        found[4].validation_loss = None;
        assert!(curves(&found, None, 60, false).contains("2.0000"));
        found.iter_mut().for_each(|epoch| (epoch.train_loss, epoch.validation_loss) = (f64::INFINITY, None));
        assert!(curves(&found, None, 60, false).contains("loss"));
    }
}
