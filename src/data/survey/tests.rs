use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};

use super::{Part, Survey, Surveyed};
use crate::data::{AugmentConfig, DataConfig, SourceConfig};

fn survey(source: &str, validation: usize) -> Survey {
    let source: SourceConfig = toml::from_str(source).unwrap();
    let config = DataConfig { source, validation, seed: None, augment: AugmentConfig::default() };
    Surveyed::open(&config, 7).unwrap().survey
}

/// A picture of 8x8 pixels with one spot, whose place is `number`.
fn write(root: &Path, name: &str, number: u32) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let at = (number % 8, number / 8 % 8);
    RgbImage::from_fn(8, 8, |x, y| Rgb(if (x, y) == at { [250, number as u8, 90] } else { [10; 3] }))
        .save(path)
        .unwrap();
}

/// Classes `cat`, with 30 training images, and `dog`, with 3; each has 2 test images.
fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for (class, start, count) in [("cat", 0, 30), ("dog", 30, 3)] {
        for number in start..start + count {
            write(folder.path(), &format!("train/{class}/{number}.png"), number);
        }
        for number in 0..2 {
            write(folder.path(), &format!("test/{class}/{number}.png"), 40 + start / 10 + number);
        }
    }
    let source = format!("kind = \"folder\"\nchannels = 3\nheight = 8\nwidth = 8\npath = {:?}", folder.path());
    (folder, source)
}

#[test]
fn a_sound_data_set_is_counted_and_not_complained_of() {
    let survey = survey("kind = \"synthetic\"\ntrain = 40\ntest = 8\nclasses = 4\nchannels = 3", 8);
    assert_eq!(survey.parts.each_ref().map(|part| part.images), [32, 8, 8]);
    assert_eq!(survey.parts[Part::Train as usize].classes, [8; 4]);
    assert_eq!((survey.imbalance, survey.mean.len(), survey.files.is_none()), (Some(1.0), 3, true));
    assert!(survey.duplicates.is_empty() && survey.blank.is_empty() && survey.warnings.is_empty());
    survey.check_readable().unwrap();
}

#[test]
fn leaks_contradictions_blank_and_rare_images_are_found() {
    let (folder, source) = folder();
    let clean = survey(&source, 0);
    assert_eq!(clean.warnings.len(), 1, "{:?}", clean.warnings);
    assert!(clean.warnings[0].contains("a tenth of the images of the largest: `dog`"), "{:?}", clean.warnings);
    assert!(clean.duplicates.is_empty());
    let files = clean.files.unwrap();
    assert_eq!((files.sizes, files.colours), (vec![(8, 8, 37)], vec![("colour", 37)]));

    // In the test images too; with another label; twice in training.
    write(folder.path(), "test/cat/again.png", 3);
    write(folder.path(), "test/dog/other.png", 4);
    write(folder.path(), "train/dog/twice.png", 31);
    RgbImage::from_pixel(30, 20, Rgb([7; 3])).save(folder.path().join("train/cat/blank.png")).unwrap();
    let survey = survey(&source, 0);
    let found: Vec<(bool, bool, usize)> =
        survey.duplicates.iter().map(|found| (found.leak, found.contradiction, found.places.len())).collect();
    assert_eq!(found, [(true, true, 2), (true, false, 2), (false, false, 2)]);
    let places = &survey.duplicates[0].places;
    assert_eq!((places[0].part, places[1].part, places[0].label, places[1].label), (Part::Train, Part::Test, 0, 1));
    assert!(places[1].file.as_ref().unwrap().ends_with("other.png"));
    assert_eq!(survey.blank.len(), 1);
    assert!(survey.blank[0].file.as_ref().unwrap().ends_with("blank.png"));
    let told = survey.warnings.join("\n");
    assert!(told.contains("test images that are also learned from: 2 of 6;"), "{told}");
    assert!(told.contains("with more than one label: 1;") && told.contains("blank images, of one colour: 1"), "{told}");
    let files = survey.files.unwrap();
    assert_eq!(files.sizes, [(8, 8, 40), (30, 20, 1)]);
}

#[test]
fn a_picture_on_both_sides_of_the_validation_split_is_a_leak() {
    let (folder, source) = folder();
    for number in 0..20 {
        write(folder.path(), &format!("train/cat/copy-{number}.png"), number);
    }
    let survey = survey(&source, 10);
    let leaks = survey.duplicates.iter().filter(|found| found.leak).count();
    assert!(leaks > 0 && survey.duplicates.len() == 20);
    let told = survey.warnings.join("\n");
    assert!(told.contains(&format!("validation images that are also learned from: {leaks} of 10;")), "{told}");
}

#[test]
fn what_training_refuses_is_a_finding() {
    let (folder, source) = folder();
    fs::write(folder.path().join("train/cat/Thumbs.db"), b"no picture").unwrap();
    fs::write(folder.path().join("test/dog/cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let survey = survey(&source, 5000);
    assert_eq!(survey.unreadable.len(), 2);
    assert!(survey.unreadable[0].contains("Thumbs.db`: ") && survey.unreadable[1].contains("cut.png`: "));
    assert_eq!(survey.parts.each_ref().map(|part| part.images), [33, 0, 4]);
    assert!(survey.warnings[0].contains("`data.validation` must be at most 31"), "{:?}", survey.warnings);
    assert_eq!(survey.check_readable().unwrap_err().exit_code(), 2);
}
