//! A first config for a folder of pictures, from what is in it. Every number is a place to start from, and says why.

use std::fmt::Write as _;
use std::path::Path;

use crate::data::survey::{FilesFound, Part, Survey, Surveyed};
use crate::data::{ImageSet, ImageShape, differ_in_a_mirror};

/// The sides that pictures are resized to, in pixels.
const SIDES: [u32; 5] = [28, 32, 48, 64, 96];

/// Pixels of all training images together, about, that a first try should not go beyond: those of MNIST or CIFAR-10.
const MOST_PIXELS: f64 = 50_000_000.0;

/// A side that is always affordable: what pictures of CIFAR-10 have.
const SMALL: f64 = 32.0;

/// Images that a first run shows, repeats counted, within [`EPOCHS`].
const SHOWN: usize = 30_000;
const EPOCHS: (usize, usize) = (10, 100);

/// Classes that are listed with their counts.
const LISTED: usize = 12;

/// So many times the images of the smallest class make classes unequal.
const UNEQUAL: f64 = 2.0;

/// A config called `name` for the pictures that were found in `folder`, which is written as it is given, in a file that is
/// to be called `file`.
pub fn starter(name: &str, folder: &Path, file: &Path, found: &Surveyed) -> String {
    let survey = &found.survey;
    let mut text = head(folder, file, survey);
    let _ = writeln!(text, "name = {}\n", quoted(name));
    data(&mut text, folder, found);
    let side = side(survey.files.as_ref(), survey.parts[Part::Train as usize].images);
    training(&mut text, survey, side);
    text
}

/// The size that the config has for the pictures that were found.
pub fn input(found: &Surveyed) -> ImageShape {
    let survey = &found.survey;
    let files = survey.files.as_ref();
    let (height, width) = size(files, side(files, survey.parts[Part::Train as usize].images));
    ImageShape { channels: if found.sets.iter().all(is_grey) { 1 } else { 3 }, height, width }
}

/// A name that an experiment may have, of a file's name.
pub fn name_of(file: &str) -> String {
    let word = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    let name: String = file.chars().map(word).take(64).collect();
    let name = name.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    if name.is_empty() { "pictures".to_owned() } else { name.to_owned() }
}

fn head(folder: &Path, file: &Path, survey: &Survey) -> String {
    let counts: Vec<usize> =
        (0..survey.classes.len()).map(|class| survey.parts.iter().map(|part| part.classes[class]).sum()).collect();
    let mut text = format!(
        "# {} pictures of {} classes, found in {} by `kiln new`:\n#\n",
        counts.iter().sum::<usize>(),
        counts.len(),
        quoted(&folder.display().to_string())
    );
    let width = survey.classes.iter().take(LISTED).map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, count) in survey.classes.iter().zip(&counts).take(LISTED) {
        // A name on one line, whatever is in it.
        let name: String = name.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
        let _ = writeln!(text, "#   {name:<width$}  {count:>6}");
    }
    if counts.len() > LISTED {
        let _ = writeln!(text, "#   and {} more classes", counts.len() - LISTED);
    }
    let shown = crate::error::quoted(file);
    let _ = writeln!(
        text,
        "#\n# look at the pictures:  kiln data {shown} --out pictures.html\n# what these numbers do: kiln plan {shown}\n# \
         train:                 kiln train {shown}\n"
    );
    text
}

fn data(text: &mut String, folder: &Path, found: &Surveyed) {
    let survey = &found.survey;
    let ImageShape { channels, height, width } = input(found);
    let why = if channels == 1 { "every picture is grey" } else { "there are pictures in colour" };
    let _ = writeln!(text, "[data]\nkind = \"folder\"\npath = {}", quoted(&folder.display().to_string()));
    line(text, &format!("channels = {channels}"), why);
    line(text, &format!("height = {height}"), &sizes(survey.files.as_ref()));
    line(text, &format!("width = {width}"), "");
    let has_own = |part: Part| survey.has_own[part as usize];
    if !has_own(Part::Test) {
        line(text, "test = 0.2", "kept for the test, the same pictures for every seed");
    }
    if !has_own(Part::Validation) {
        line(text, "validation = 0.1", "of the rest, to choose the best epoch by");
    }
    let unreadable = survey.unreadable.files.len();
    let (action, why) = match unreadable {
        0 => ("error", "refuse files that cannot be read; \"skip\" leaves them out".to_owned()),
        count => ("skip", format!("{count} files cannot be read as pictures; `kiln data` lists them")),
    };
    line(text, &format!("on_unreadable = \"{action}\""), &why);
    let _ = writeln!(
        text,
        "\n[[data.augment]]         # every epoch sees each picture a little differently\nkind = \"affine\""
    );
    line(text, &format!("shift_pixels = {:.1}", height.min(width) as f64 / 16.0), "");
    line(text, "rotate_degrees = 10.0", "0 where the direction tells the class");
    line(text, "scale = 0.1", "");
    if channels == 3 && !differ_in_a_mirror(&survey.classes) {
        let _ = writeln!(text, "\n[[data.augment]]         # leave it out where a mirror makes one class into another");
        let _ = writeln!(text, "kind = \"flip\"");
    }
}

fn training(text: &mut String, survey: &Survey, side: u32) {
    let images = survey.parts[Part::Train as usize].images.max(1);
    let channels = if side < 64 { "[16, 32, 64]" } else { "[16, 32, 64, 128]" };
    let _ = writeln!(text, "\n[model]\nkind = \"resnet\"");
    line(
        text,
        &format!("channels = {channels}"),
        "each stage halves height and width; more channels learn more, slower",
    );
    let _ = writeln!(text, "\n[optimizer]\nkind = \"adamw\"");
    line(text, "learning_rate = 0.002", "the first thing to vary");
    let _ = writeln!(text, "\n[schedule]\nkind = \"one_cycle\"\n\n[train]");
    let epochs = SHOWN.div_ceil(images).clamp(EPOCHS.0, EPOCHS.1);
    line(text, &format!("epochs = {epochs}"), "");
    let batch = match images {
        0..2000 => (images / 8).clamp(2, 32),
        2000..10_000 => 64,
        _ => 128,
    };
    line(text, &format!("batch_size = {batch}"), "");
    if let Some(imbalance) = survey.imbalance.filter(|imbalance| *imbalance > UNEQUAL) {
        line(
            text,
            "sampling = \"balanced\"",
            &format!("the largest class has {imbalance:.1} times the pictures of the smallest"),
        );
        let _ = writeln!(text, "\n[checkpoint]");
        line(
            text,
            "best_by = \"balanced_accuracy\"",
            "the best epoch is good at every class, not at the largest alone",
        );
    }
}

/// `assignment`, and from column 25 on why.
fn line(text: &mut String, assignment: &str, why: &str) {
    let line = if why.is_empty() { assignment.to_owned() } else { format!("{assignment:<24} # {why}") };
    let _ = writeln!(text, "{line}");
}

fn is_grey(set: &ImageSet) -> bool {
    (0..set.len()).all(|index| {
        let plane = set.shape.height * set.shape.width;
        let planes: Vec<&[u8]> = set.image(index).chunks_exact(plane).collect();
        planes.windows(2).all(|pair| pair[0] == pair[1])
    })
}

/// The longest of [`SIDES`] that does not enlarge most pictures, nor make a first try too slow. Small pictures keep theirs.
fn side(files: Option<&FilesFound>, images: usize) -> u32 {
    let affordable = (MOST_PIXELS / images.max(1) as f64).sqrt().max(SMALL);
    let longest = f64::from(median(files, |width, height| width.max(height))).min(affordable);
    SIDES.into_iter().rev().find(|side| f64::from(*side) <= longest).unwrap_or(SIDES[0])
}

/// Height and width for a longer side of `side`, in the proportions that most pictures have.
fn size(files: Option<&FilesFound>, side: u32) -> (usize, usize) {
    let [width, height] = [median(files, |width, _| width), median(files, |_, height| height)].map(f64::from);
    let share = width.min(height) / width.max(height);
    // What is nearly square is made so; thin pictures keep enough rows and columns for a network.
    let shorter = if share > 0.8 { side } else { ((f64::from(side) * share / 4.0).round() as u32 * 4).max(16) };
    let (shorter, side) = (shorter as usize, side as usize);
    if width >= height { (shorter, side) } else { (side, shorter) }
}

/// The median over the files of some measure of columns and rows; that of MNIST where nothing is known.
fn median(files: Option<&FilesFound>, measure: impl Fn(u32, u32) -> u32) -> u32 {
    let Some(files) = files else { return SIDES[0] };
    let mut measured: Vec<(u32, usize)> =
        files.sizes.iter().map(|(width, height, count)| (measure(*width, *height), *count)).collect();
    measured.sort_unstable();
    let half = measured.iter().map(|(_, count)| count).sum::<usize>() / 2;
    let mut below = 0;
    let reached = |(_, count): &&(u32, usize)| {
        below += count;
        below > half
    };
    measured.iter().find(reached).map_or(SIDES[0], |(measure, _)| *measure)
}

fn sizes(files: Option<&FilesFound>) -> String {
    match files.map(|files| &files.sizes[..]) {
        Some([(width, height, _)]) => format!("the pictures are {width} x {height} pixels"),
        Some([(width, height, count), others @ ..]) => {
            format!("{count} pictures are {width} x {height} pixels, the others of {} other sizes", others.len())
        }
        _ => String::new(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_name_becomes_a_name_of_an_experiment() {
        assert_eq!(name_of("shapes"), "shapes");
        assert_eq!(name_of("my shapes (2)"), "my-shapes--2");
        assert_eq!(name_of("Früchte"), "Fr-chte");
        assert_eq!(name_of("..."), "pictures");
        assert_eq!(name_of(&"long".repeat(99)).len(), 64);
    }

    #[test]
    fn the_size_follows_the_pictures_and_what_is_affordable() {
        let files = |sizes: &[(u32, u32, usize)]| FilesFound { sizes: sizes.to_vec(), colours: Vec::new() };
        let chosen = |sizes: &[(u32, u32, usize)], images| {
            let files = files(sizes);
            size(Some(&files), side(Some(&files), images))
        };
        assert_eq!(chosen(&[(28, 28, 9)], 60_000), (28, 28));
        assert_eq!(chosen(&[(300, 280, 9), (20, 20, 2)], 400), (96, 96));
        assert_eq!(chosen(&[(32, 32, 9)], 100_000), (32, 32));
        assert_eq!(chosen(&[(300, 280, 9)], 50_000), (32, 32));
        assert_eq!(chosen(&[(300, 280, 9)], 10_000), (64, 64));
        assert_eq!(chosen(&[(64, 32, 9)], 400), (32, 64));
        assert_eq!(chosen(&[(32, 640, 9)], 400), (96, 16));
        assert_eq!(chosen(&[(8, 8, 9)], 400), (28, 28));
    }
}
