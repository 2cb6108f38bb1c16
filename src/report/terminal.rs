//! Pictures in the terminal: two pixels in each character, by half blocks.

use super::sheet::Picture;
use crate::data::examples::examples as examples_of;
use crate::data::survey::{Part, Surveyed};
use crate::data::{AugmentConfig, ImageSet, ImageShape};
use crate::eval::Predictions;

/// The widest picture that is drawn, in columns; larger ones are shrunk.
const WIDEST: usize = 32;

/// Columns that a line may have.
const COLUMNS: usize = 80;

/// The `most` wrong answers for the images of `set` with the highest loss, each with its picture, side by side as far as
/// they fit. With `colour`, pixels are in colour by ANSI codes; without, they are there or not.
pub fn mistakes(predictions: &Predictions, set: &ImageSet, most: usize, colour: bool) -> String {
    let worst = predictions.worst();
    if worst.is_empty() {
        return "every answer is right".to_owned();
    }
    let shown = worst.len().min(most);
    let blocks: Vec<Vec<String>> = worst[..shown].iter().map(|&index| block(predictions, set, index, colour)).collect();
    let width = set.shape.width.clamp(20, WIDEST);
    let beside = ((COLUMNS + 2) / (width + 2)).max(1);
    let mut text = format!("the {shown} worst of {} mistakes, the highest loss first\n", worst.len());
    for row in blocks.chunks(beside) {
        text.push('\n');
        text += &side_by_side(row, width);
    }
    text.truncate(text.trim_end().len());
    text
}

/// The first `most` images of each class that an experiment with this `augment` and `seed` trains on, as far as they fit
/// beside each other; below them, where training distorts them, the same as the first epoch sees them.
pub fn examples(surveyed: &Surveyed, augment: &[AugmentConfig], seed: u64, most: usize, colour: bool) -> String {
    let train = &surveyed.sets[Part::Train as usize];
    let picture = |pixels: &[u8]| Picture::of_image(pixels, train.shape).shrunk(WIDEST);
    let width = train.shape.width.div_ceil(train.shape.width.max(train.shape.height).div_ceil(WIDEST));
    let beside = most.min(((COLUMNS + 2) / (width + 2)).max(1));
    let mut text = String::new();
    for found in examples_of(train, augment, seed, (train.classes.len(), beside, 1)) {
        text += &format!("{}\n", train.classes[found.class]);
        let as_they_are: Vec<Picture> = found.images.iter().map(|image| picture(train.image(*image))).collect();
        let distorted = found.distorted.iter().map(|epoch| epoch.iter().map(|pixels| picture(pixels)).collect());
        for row in std::iter::once(as_they_are).chain(distorted) {
            text += &side_by_side(&row.iter().map(|one| half_blocks(one, colour)).collect::<Vec<_>>(), width);
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// One image, as large as it is up to [`WIDEST`] columns, in colour or in black and white.
pub fn picture(pixels: &[u8], shape: ImageShape, colour: bool) -> String {
    half_blocks(&Picture::of_image(pixels, shape).shrunk(WIDEST), colour).join("\n")
}

/// Blocks of lines beside each other, each padded to `width`.
fn side_by_side(blocks: &[Vec<String>], width: usize) -> String {
    let mut text = String::new();
    for line in 0..blocks.iter().map(Vec::len).max().unwrap_or(0) {
        let parts: Vec<String> =
            blocks.iter().map(|block| padded(block.get(line).map_or("", String::as_str), width)).collect();
        text += parts.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A picture and the lines below it.
fn block(predictions: &Predictions, set: &ImageSet, index: usize, colour: bool) -> Vec<String> {
    let picture = Picture::of_image(set.image(index), set.shape).shrunk(WIDEST);
    let width = set.shape.width.clamp(20, WIDEST);
    let classes = predictions.classes();
    let (label, answer) = (predictions.label(index), predictions.answer(index));
    let probabilities = predictions.probabilities(index);
    let mut lines = half_blocks(&picture, colour);
    lines.push(format!("image {index}, loss {:.2}", predictions.loss(index)));
    for (what, class) in [("label ", label), ("answer", answer)] {
        let share = format!(" {:.1} %", probabilities[class] * 100.0);
        let room = width.saturating_sub(what.len() + 1 + share.len());
        lines.push(format!("{what} {}{share}", shortened(&classes[class], room)));
    }
    lines
}

/// The name, or as much of it as fits into `room` characters.
pub(super) fn shortened(name: &str, room: usize) -> String {
    if name.chars().count() <= room {
        return name.to_owned();
    }
    name.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// With spaces after it to `width` visible characters; ANSI codes take none.
pub(super) fn padded(line: &str, width: usize) -> String {
    format!("{line}{}", " ".repeat(width.saturating_sub(visible(line))))
}

/// How many characters of a line are seen; ANSI codes are not.
pub fn visible(line: &str) -> usize {
    let mut visible = 0;
    let mut is_code = false;
    for letter in line.chars() {
        match letter {
            '\u{1b}' => is_code = true,
            'm' if is_code => is_code = false,
            _ if !is_code => visible += 1,
            _ => {}
        }
    }
    visible
}

/// The lines of a picture, two of its rows in each.
fn half_blocks(picture: &Picture, colour: bool) -> Vec<String> {
    let pixels: Vec<[u8; 3]> = picture
        .values
        .chunks_exact(picture.channels)
        .map(|pixel| if let &[red, green, blue] = pixel { [red, green, blue] } else { [pixel[0]; 3] })
        .collect();
    let row = |row: usize| pixels.get(row * picture.width..(row + 1) * picture.width).unwrap_or(&[]);
    let line = |above: usize| {
        let below = row(above + 1).iter().copied().chain(std::iter::repeat([0; 3]));
        row(above).iter().copied().zip(below)
    };
    let lines = (0..picture.height).step_by(2);
    if colour {
        return lines.map(|above| in_colour(line(above))).collect();
    }
    let light = |pixel: &[u8; 3]| pixel.iter().map(|value| usize::from(*value)).sum::<usize>();
    let (darkest, brightest) = (pixels.iter().map(light).min(), pixels.iter().map(light).max());
    let (darkest, brightest) = (darkest.unwrap_or(0), brightest.unwrap_or(0));
    // Below the middle, so that thin strokes stay.
    let threshold = darkest + (brightest - darkest) * 3 / 8;
    lines.map(|above| in_black_and_white(line(above), |pixel| light(&pixel) > threshold)).collect()
}

fn in_colour(pixels: impl Iterator<Item = ([u8; 3], [u8; 3])>) -> String {
    let block =
        |([r, g, b], [x, y, z]): ([u8; 3], [u8; 3])| format!("\u{1b}[38;2;{r};{g};{b}m\u{1b}[48;2;{x};{y};{z}m▀");
    pixels.map(block).collect::<String>() + "\u{1b}[0m"
}

fn in_black_and_white(pixels: impl Iterator<Item = ([u8; 3], [u8; 3])>, is_bright: impl Fn([u8; 3]) -> bool) -> String {
    let block = |(above, below)| match (is_bright(above), is_bright(below)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    pixels.map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_drawn_above_its_label_and_answer() {
        let shape = ImageShape { channels: 1, height: 3, width: 3 };
        let pixels = vec![255, 0, 0, 255, 255, 0, 0, 0, 255];
        let classes = ["a very long name of a class".to_owned(), "dog".to_owned()];
        let set = ImageSet::new(shape, pixels, vec![0], classes.clone().into()).unwrap();
        let predictions = Predictions::from_logits(&[0.0, 1.0], &[0], &classes);
        insta::assert_snapshot!(mistakes(&predictions, &set, 8, false), @r"
        the 1 worst of 1 mistakes, the highest loss first

        █▄
          ▀
        image 0, loss 1.31
        label  a ver… 26.9 %
        answer dog 73.1 %
        ");
    }

    #[test]
    fn without_colour_dark_ink_on_a_light_ground_is_seen_too() {
        let picture = Picture { width: 2, height: 3, channels: 1, values: vec![250, 140, 250, 240, 140, 250] };
        assert_eq!(half_blocks(&picture, false), ["█▄", " ▀"]);
    }

    #[test]
    fn codes_for_colours_take_no_room() {
        let picture = Picture { width: 1, height: 2, channels: 3, values: vec![1, 2, 3, 4, 5, 6] };
        let line = &half_blocks(&picture, true)[0];
        assert_eq!(line, "\u{1b}[38;2;1;2;3m\u{1b}[48;2;4;5;6m▀\u{1b}[0m");
        assert_eq!(padded(line, 3), format!("{line}  "));
    }
}
