//! Sets of arrays and of tables, as people have them and as they break.

use std::fs;
use std::path::Path;

use super::published::zip;
use super::*;
use crate::data::sources::npy::tests::npy;
use crate::data::{Dataset, ImageSet};

fn at(kind: &str, path: &Path, more: &str) -> Result<Dataset> {
    let path = toml::Value::from(path.to_str().unwrap());
    data::open(&toml::from_str(&format!("kind = \"{kind}\"\npath = {path}\nvalidation = 0\n{more}")).unwrap(), 1)
}

/// An array of `count` images of 4 x 4 pixels, each of its number.
fn images(count: u8) -> Vec<u8> {
    npy("|u1", &format!("({count}, 4, 4)"), &(0..count).flat_map(|number| [number; 16]).collect::<Vec<_>>())
}

/// An array of `count` labels, alternating.
fn labels(count: u8) -> Vec<u8> {
    let values: Vec<u8> = (0..count).flat_map(|number| u64::from(number % 2).to_le_bytes()).collect();
    npy("<i8", &format!("({count},)"), &values)
}

#[test]
fn arrays_are_recognised_by_the_names_that_people_give_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.npz");
    let lengths = |opened: &Dataset| [&opened.train, &opened.validation, &opened.test].map(ImageSet::len);
    // MedMNIST.
    let arrays = [
        ("train_images.npy", images(8)),
        ("train_labels.npy", labels(8)),
        ("val_images.npy", images(4)),
        ("val_labels.npy", labels(4)),
        ("test_images.npy", images(2)),
        ("test_labels.npy", labels(2)),
    ];
    fs::write(&file, zip(&arrays)).unwrap();
    assert_eq!(lengths(&at("npz", &file, "").unwrap()), [8, 4, 2]);
    // Keras.
    let keras = ["x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"];
    let arrays: Vec<_> = keras.into_iter().zip([images(8), labels(8), images(4), labels(4)]).collect();
    fs::write(&file, zip(&arrays)).unwrap();
    let opened = at("npz", &file, "classes = [\"even\", \"odd\"]").unwrap();
    assert_eq!((lengths(&opened), &*opened.train.classes[1]), ([8, 0, 4], "odd"));
    // No parts: divided by what is in the images, so that more of them move no other.
    let tested = |count| {
        fs::write(&file, zip(&[("images.npy", images(count)), ("labels.npy", labels(count))])).unwrap();
        let opened = at("npz", &file, "").unwrap();
        assert_eq!(opened.train.len() + opened.test.len(), usize::from(count));
        (0..opened.test.len()).map(|index| opened.test.image(index)[0]).collect::<Vec<_>>()
    };
    let (few, more) = (tested(60), tested(90));
    assert_eq!(more.into_iter().filter(|number| *number < 60).collect::<Vec<_>>(), few);
    fs::remove_file(&file).unwrap();
    // K49: a file for each array, all called alike within.
    for (name, bytes) in
        [("train-imgs", images(8)), ("train-labels", labels(8)), ("test-imgs", images(4)), ("test-labels", labels(4))]
    {
        fs::write(folder.path().join(format!("k49-{name}.npz")), zip(&[("arr_0.npy", bytes)])).unwrap();
    }
    assert_eq!(lengths(&at("npz", folder.path(), "").unwrap()), [8, 0, 4]);
    let swapped = "train_images = \"k49-test-imgs/arr_0\"\ntrain_labels = \"k49-test-labels/arr_0\"";
    assert_eq!(lengths(&at("npz", folder.path(), swapped).unwrap()), [4, 0, 4]);
}

#[test]
fn channels_may_stand_in_front_or_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let open = |shape: &str, pixels: &[u8]| {
        let path = folder.path().join("a.npz");
        let arrays = [
            ("x_train.npy", npy("|u1", shape, pixels)),
            ("y_train.npy", npy("|u1", "(2,)", &[0, 1])),
            ("x_test.npy", npy("|u1", shape, pixels)),
            ("y_test.npy", npy("|u1", "(2,)", &[0, 1])),
        ];
        fs::write(&path, zip(&arrays)).unwrap();
        at("npz", &path, "").unwrap()
    };
    let first: Vec<u8> = (0..2 * 48).collect();
    let last: Vec<u8> =
        (0..2 * 16_u8).flat_map(|pixel| [0, 1, 2].map(|channel| pixel / 16 * 48 + channel * 16 + pixel % 16)).collect();
    let (first, last) = (open("(2, 3, 4, 4)", &first), open("(2, 4, 4, 3)", &last));
    assert_eq!(first.train.shape, ImageShape { channels: 3, height: 4, width: 4 });
    assert_eq!(first.fingerprint, last.fingerprint);
}

/// How to spoil a set, and what must be said.
type Fault<'a> = (&'a str, Vec<(&'a str, Vec<u8>)>, &'a [&'a str]);

#[test]
fn every_broken_set_of_arrays_is_refused_in_words() {
    let good = || {
        vec![
            ("x_train.npy", images(8)),
            ("y_train.npy", labels(8)),
            ("x_test.npy", images(4)),
            ("y_test.npy", labels(4)),
        ]
    };
    let with = |name: &'static str, bytes: Vec<u8>| {
        let mut arrays = good();
        arrays.iter_mut().filter(|(other, _)| *other == name).for_each(|(_, old)| *old = bytes.clone());
        arrays
    };
    let without = |name: &str| good().into_iter().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    let ones = |count: usize| vec![1; count];
    let faults: Vec<Fault<'_>> = vec![
        ("nothing in it", vec![], &["there is no NumPy array"]),
        ("only a text", vec![("readme.txt", b"hello".to_vec())], &["there is no NumPy array; there is readme.txt"]),
        ("no labels", without("y_train.npy"), &["the train images have no labels"]),
        ("no images and no labels", [without("x_train.npy"), vec![]].concat(), &["the train labels have no images"]),
        ("two that may be meant", [good(), vec![("train_images.npy", images(8))]].concat(), &["may be meant"]),
        ("a label too few", with("y_train.npy", labels(7)), &["one label for each of the 8 images", "got 7"]),
        ("several labels each", with("y_train.npy", npy("|u1", "(8, 2)", &ones(16))), &["[images, 1], got [8, 2]"]),
        ("negative labels", with("y_train.npy", npy("|i1", "(8,)", &[255; 8])), &["from 0 to 65534, got -1"]),
        (
            "fractions for labels",
            with("y_train.npy", npy("<f4", "(8,)", &[0x3f; 32])),
            &["labels must be whole numbers"],
        ),
        ("one class", with("y_train.npy", npy("|u1", "(8,)", &[0; 8])), &["labels must be 0 to 0", "got 1"]),
        (
            "a class without images",
            with("y_train.npy", npy("|u1", "(8,)", &[3; 8])),
            &["class `0` has no training image"],
        ),
        (
            "a test label of no class",
            with("y_test.npy", npy("|u1", "(4,)", &[9; 4])),
            &["labels must be 0 to 1", "got 9"],
        ),
        ("Python objects", with("x_train.npy", npy("|O", "(8,)", &ones(64))), &["holds Python objects"]),
        ("complex numbers", with("x_train.npy", npy("<c8", "(8,)", &ones(64))), &["no numbers that kiln reads"]),
        ("flat images", with("x_train.npy", npy("|u1", "(8, 16)", &ones(128))), &["must hold images, got [8, 16]"]),
        ("five channels", with("x_train.npy", npy("|u1", "(8, 4, 4, 5)", &ones(640))), &["got [8, 4, 4, 5]"]),
        ("no rows", with("x_train.npy", npy("|u1", "(8, 0, 4)", &[])), &["4 to 512 rows and columns"]),
        ("no images", with("x_train.npy", npy("|u1", "(0, 4, 4)", &[])), &["at least 1 image"]),
        ("images too wide", with("x_train.npy", npy("|u1", "(1, 4, 600)", &ones(2400))), &["4 to 512 rows"]),
        (
            "test images of another size",
            with("x_test.npy", npy("|u1", "(4, 5, 5)", &ones(100))),
            &["must be 1x4x4", "1x5x5"],
        ),
        (
            "pixels that are none",
            with("x_train.npy", npy("<i2", "(8, 4, 4)", &ones(256))),
            &["pixels must be 0 to 255, got 257"],
        ),
        (
            "a cut array",
            with("x_train.npy", images(8)[..200].to_vec()),
            &["must hold 128 bytes after its header", "got"],
        ),
        (
            "an array that claims terabytes",
            with("x_train.npy", npy("|u1", "(1000000, 1000, 1000)", &[])),
            &["must hold 1000000000000 bytes"],
        ),
        (
            "no array under an array's name",
            with("x_train.npy", b"<html>".to_vec()),
            &["must begin as NumPy's arrays do"],
        ),
        (
            "much at once",
            [with("x_train.npy", b"<html>".to_vec()), vec![]]
                .concat()
                .into_iter()
                .map(|(name, bytes)| (name, if name == "y_test.npy" { b"PK".to_vec() } else { bytes }))
                .collect(),
            &["x_train.npy`: must begin", "y_test.npy`: must begin"],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, arrays, said) in faults {
        let path = folder.path().join("set.npz");
        fs::write(&path, zip(&arrays)).unwrap();
        let error = at("npz", &path, "").err().unwrap_or_else(|| panic!("{name}: opened"));
        assert_eq!((error.exit_code(), error.tips().is_empty()), (2, false), "{name}: {}", error.render());
        assert!(said.iter().all(|said| error.render().contains(said)), "{name}: {}", error.render());
    }
    let named = at("npz", &folder.path().join("set.npz"), "train_images = \"nothing\"\ntest_labels = \"none\"");
    let said = named.unwrap_err().render();
    assert!(said.contains("there is no array `nothing`") && said.contains("there is no array `none`"), "{said}");
    for (name, bytes) in [("empty.npz", &b""[..]), ("page.npz", b"<html>"), ("folder", b"")] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(at("npz", &path, "").unwrap_err().exit_code(), 2, "{name}");
    }
}

fn picture(path: &Path, shade: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(5, 5, image::Rgb([shade, 9, 9])).save(path).unwrap();
}

#[test]
fn a_table_names_pictures_labels_and_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = "id;x,Filename,Class,Split\n".to_owned();
    for number in 0..12_u8 {
        picture(&folder.path().join(format!("all of them/{number}.png")), number);
        let (class, part) = (
            ["große Möwe", "Rabe, schwarz"][usize::from(number % 2)],
            ["train", "VAL", "testing"][usize::from(number / 4)],
        );
        table.push_str(&format!("{number},all of them/{number}.png,\"{class}\",{part}\n"));
    }
    let path = folder.path().join("birds.csv");
    fs::write(&path, format!("\u{feff}{table}")).unwrap();
    let opened = at("csv", &path, "channels = 3").unwrap();
    assert_eq!([&opened.train, &opened.validation, &opened.test].map(ImageSet::len), [4, 4, 4]);
    assert_eq!(*opened.train.classes, ["Rabe, schwarz".to_owned(), "große Möwe".to_owned()]);
    // Other columns; and without parts, divided by the contents.
    fs::write(&path, table.replace("Filename,Class,Split", "where,what,when")).unwrap();
    let opened = at("csv", &path, "path_column = \"where\"\nlabel_column = \"what\"").unwrap();
    assert_eq!(opened.train.len() + opened.test.len(), 12);
    assert!(!opened.test.is_empty());
}

#[test]
fn every_broken_table_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..8 {
        picture(&folder.path().join(format!("{number}.png")), number);
    }
    fs::write(folder.path().join("no.png"), b"no picture").unwrap();
    let rows: String = (0..8).map(|number| format!("{number}.png,{}\n", ["a", "b"][number % 2])).collect();
    let faults: Vec<(&str, String, &[&str])> = vec![
        ("empty", String::new(), &["no column is called as one of paths", "no column is called as one of labels"]),
        ("no header", rows.clone(), &["no column is called", "the columns are 0.png, a"]),
        ("no rows", "path,label\n".into(), &["2 classes or more, got 0"]),
        ("one class", format!("path,label\n{}", rows.replace(",b", ",a")), &["2 classes or more, got 1"]),
        ("a row too short", format!("path,label\n{rows}0.png\n"), &["without a path or a label, by line: 10"]),
        ("no label", format!("path,label\n{rows}0.png,\n"), &["without a path or a label, by line: 10"]),
        (
            "a file that is not there",
            format!("path,label\n{rows}9.png,a\n"),
            &["files that are not there, by line: 10 `", "9.png`"],
        ),
        ("a picture twice", format!("path,label\n{rows}0.png,b\n"), &["named twice, by lines: 2 and 10"]),
        (
            "a part of another name",
            "path,label,split\n0.png,a,train\n1.png,b,holdout\n".into(),
            &["by line: 3 \"holdout\""],
        ),
        (
            "a class only in the test",
            "path,label,split\n0.png,a,train\n1.png,b,train\n2.png,c,test\n".into(),
            &["none to train on, of [\"c\"]"],
        ),
        ("no picture", format!("path,label\n{rows}no.png,a\n"), &["no.png`: a picture must be PNG", "\"skip\""]),
        (
            "much at once",
            format!("path,label,split\n{}x.png,a,train\ny.png,b,train\n,,\n", "0.png,a,nowhere\n".repeat(9)),
            &["and 4 more", "files that are not there", "without a path"],
        ),
        ("no text", "path,label\n\u{0}\u{1}".into(), &["without a path or a label"]),
    ];
    let path = folder.path().join("t.csv");
    for (name, table, said) in faults {
        fs::write(&path, table).unwrap();
        let error = at("csv", &path, "").err().unwrap_or_else(|| panic!("{name}: opened"));
        assert_eq!((error.exit_code(), error.tips().is_empty()), (2, false), "{name}: {}", error.render());
        assert!(said.iter().all(|said| error.render().contains(said)), "{name}: {}", error.render());
    }
    fs::write(&path, b"path,label\n\xff\xfe,a\n").unwrap();
    assert!(at("csv", &path, "").unwrap_err().render().contains("cannot be read as CSV"));
    assert_eq!(at("csv", folder.path(), "").unwrap_err().exit_code(), 2);
    assert_eq!(at("csv", &folder.path().join("none.csv"), "").unwrap_err().exit_code(), 2);
    let said =
        at("csv", &path, "path_column = \"p\"\nlabel_column = \"l\"\nsplit_column = \"s\"").unwrap_err().render();
    assert_eq!(said.matches("there is no column").count(), 3, "{said}");
}
