//! Folders of pictures as people have them: divided or not, nested, with other files among them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::data::survey::Surveyed;

/// Writes a picture that no other call with another `number` writes.
fn picture(path: &Path, number: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let [low, high, ..] = number.to_le_bytes();
    image::RgbImage::from_fn(6, 5, |x, _| image::Rgb([low, high, x as u8])).save(path).unwrap();
}

fn config(folder: &Path, more: &str) -> DataConfig {
    let path = toml::Value::from(folder.to_str().unwrap());
    toml::from_str(&format!("kind = \"folder\"\npath = {path}\nchannels = 3\nheight = 5\nwidth = 6\n{more}")).unwrap()
}

/// The numbers of the pictures of a set.
fn numbers(set: &ImageSet) -> BTreeSet<u32> {
    let plane = set.shape.height * set.shape.width;
    (0..set.len()).map(|index| u32::from(set.image(index)[0]) + (u32::from(set.image(index)[plane]) << 8)).collect()
}

/// `cats` of one class and a few of two others, without parts.
fn undivided(folder: &Path, cats: u32) {
    (0..cats).for_each(|number| picture(&folder.join(format!("cat/{number}.png")), number));
    (1000..1040).for_each(|number| picture(&folder.join(format!("dog/deep/er/{number}.png")), number));
    (2000..2005).for_each(|number| picture(&folder.join(format!("rare bird/{number}.bmp")), number));
}

#[test]
fn a_folder_without_parts_is_divided_by_what_is_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    undivided(folder.path(), 100);
    let open = |seed, more| data::open(&config(folder.path(), more), seed).unwrap();
    let first = open(1, "");
    assert_eq!(*first.train.classes, ["cat", "dog", "rare bird"].map(str::to_owned));
    let parts = [&first.train, &first.validation, &first.test];
    let all: BTreeSet<u32> = parts.iter().flat_map(|part| numbers(part)).collect();
    assert_eq!((parts.map(ImageSet::len).iter().sum::<usize>(), all.len()), (145, 145));
    for part in parts {
        assert!(part.class_counts().iter().all(|count| *count > 0), "{:?}", part.class_counts());
    }
    assert!((15..45).contains(&first.test.len()), "{}", first.test.len());

    // Another seed holds out other pictures to choose by, and tests on the same.
    let second = open(2, "");
    assert_eq!(numbers(&second.test), numbers(&first.test));
    assert_ne!(numbers(&second.validation), numbers(&first.validation));
    assert!(open(1, "test = 0.5").test.len() > 50);

    // Neither names, nor more pictures, nor another size move one from one part into another.
    fs::rename(folder.path().join("cat/7.png"), folder.path().join("cat/renamed.png")).unwrap();
    undivided(folder.path(), 130);
    fs::remove_file(folder.path().join("cat/renamed.png")).unwrap();
    let more = open(1, "");
    assert_eq!(more.train.len() + more.validation.len() + more.test.len(), 175);
    let before =
        |set: &ImageSet| numbers(set).into_iter().filter(|number| all.contains(number)).collect::<BTreeSet<_>>();
    assert_eq!(before(&more.test), numbers(&first.test));
    assert_eq!(before(&more.validation), numbers(&first.validation));
}

#[test]
fn parts_may_have_other_names_and_validation_pictures_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    for (place, part) in ["Training", "valid", "testing"].iter().enumerate() {
        for (class, number) in [("a", 1), ("b", 2)] {
            for copy in 0..=place as u32 {
                picture(&folder.path().join(part).join(class).join(format!("{copy}.png")), 10 * number + copy);
            }
        }
    }
    picture(&folder.path().join("extra/1.png"), 99);
    let config = config(folder.path(), "validation = 5000");
    let dataset = data::open(&config, 1).unwrap();
    assert_eq!([&dataset.train, &dataset.validation, &dataset.test].map(ImageSet::len), [2, 4, 6]);
    let shown = folder.path().display();
    assert_eq!(dataset.notices, [format!("`{shown}`: not used: `extra`")]);
    let counts = Surveyed::open(&config, 1).unwrap().survey.parts.map(|part| part.images);
    assert_eq!(counts, [2, 4, 6]);
    // They count for what the data set is.
    picture(&folder.path().join("valid/a/0.png"), 77);
    assert_ne!(data::open(&config, 1).unwrap().fingerprint, dataset.fingerprint);
}

#[test]
fn classes_may_be_called_like_parts() {
    let folder = tempfile::tempdir().unwrap();
    for (class, number) in [("train", 0), ("car", 10), ("test", 20)] {
        (0..5).for_each(|copy| picture(&folder.path().join(class).join(format!("{copy}.png")), number + copy));
    }
    let dataset = data::open(&config(folder.path(), ""), 1).unwrap();
    assert_eq!(*dataset.train.classes, ["car", "test", "train"].map(str::to_owned));
}

#[test]
fn what_is_no_picture_is_passed_over_or_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    undivided(folder.path(), 10);
    let place = |name: &str| -> PathBuf { folder.path().join(name) };
    for junk in ["cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "README.md", "labels.csv"] {
        fs::write(place(junk), b"junk").unwrap();
    }
    fs::create_dir(place("empty")).unwrap();
    let shown = folder.path().display();
    let notices = [
        format!("`{shown}`: not used: `README.md`, `labels.csv`"),
        format!("`{shown}`: left out, since there is no picture in them: `empty`"),
    ];
    assert_eq!(data::open(&config(folder.path(), ""), 1).unwrap().notices, notices);

    fs::write(place("cat/notes.txt"), b"cats are fine").unwrap();
    fs::write(place("dog/cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let refused = data::open(&config(folder.path(), ""), 1).unwrap_err().render();
    assert!(refused.contains("notes.txt") && refused.contains("cut.png") && refused.contains("\"skip\""), "{refused}");
    let skipping = config(folder.path(), "on_unreadable = \"skip\"");
    let dataset = data::open(&skipping, 1).unwrap();
    assert_eq!(
        dataset.notices[2],
        "left out, since they cannot be read as pictures: 2 of 57 files; `kiln data` lists them"
    );
    assert_eq!(dataset.train.len() + dataset.validation.len() + dataset.test.len(), 55);
    let survey = Surveyed::open(&skipping, 1).unwrap().survey;
    assert_eq!(survey.unreadable.files.len(), 2);
    survey.unreadable.check().unwrap();
}

#[test]
fn a_class_that_is_not_tested_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["train/a/1.png", "train/b/2.png", "test/b/3.png"] {
        picture(&folder.path().join(name), name.len() as u32);
    }
    let dataset = data::open(&config(folder.path(), "validation = 0"), 1).unwrap();
    assert_eq!(dataset.notices, ["there is no test picture of `a`"]);
    assert_eq!(dataset.test.class_counts(), [0, 1]);
}
