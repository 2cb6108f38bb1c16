//! Sets that are published elsewhere: told where to get them, read from folders and archives, and never taken for another.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::damaged::gzip;
use super::*;
use crate::data::Dataset;

/// Writes four small IDX files of these names with 2 images of each of `classes`; another `salt` gives other pixels.
pub(in crate::data::sources) fn write_idx(folder: &Path, names: [&str; 4], classes: u8, salt: u8) {
    let header = |magic: u32, sizes: &[u32]| -> Vec<u8> {
        std::iter::once(&magic).chain(sizes).flat_map(|number| number.to_be_bytes()).collect()
    };
    for (images, labels, count) in [(names[0], names[1], 2 * classes), (names[2], names[3], classes)] {
        let pixels: Vec<u8> = (0..u32::from(count) * 30).map(|place| (place as u8).wrapping_mul(7) ^ salt).collect();
        let targets: Vec<u8> = (0..count).map(|index| index % classes).collect();
        fs::write(folder.join(images), [header(0x803, &[u32::from(count), 6, 5]), pixels].concat()).unwrap();
        fs::write(folder.join(labels), [header(0x801, &[u32::from(count)]), targets].concat()).unwrap();
    }
}

/// A zip archive of these files.
pub(in crate::data::sources) fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (number, (name, bytes)) in files.iter().enumerate() {
        let method = [::zip::CompressionMethod::Stored, ::zip::CompressionMethod::Deflated][number % 2];
        archive.start_file(*name, ::zip::write::SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A tar archive of these files, compressed.
fn tar_gz(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ::tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn data(toml: &str) -> Result<Dataset> {
    data::open(&toml::from_str(&format!("{toml}\nvalidation = 0")).unwrap(), 1)
}

fn at(kind: &str, path: &Path, more: &str) -> Result<Dataset> {
    data(&format!("kind = \"{kind}\"\npath = {}\n{more}", toml::Value::from(path.to_str().unwrap())))
}

/// The published kinds.
const KINDS: [&str; 4] = ["kmnist", "emnist", "cifar10", "cifar100"];

#[test]
fn a_set_that_is_not_there_says_where_to_get_which_files_with_their_sums() {
    for kind in KINDS {
        let said = data(&format!("kind = \"{kind}\"")).unwrap_err().render();
        assert!(said.contains("is not part of kiln, and `data.path` does not say where it is"), "{kind}: {said}");
        assert!(said.contains("http") && said.contains("SHA-256 ") && said.contains(" bytes)"), "{kind}: {said}");
        let folder = tempfile::tempdir().unwrap();
        let empty = at(kind, folder.path(), "").unwrap_err().render();
        assert!(empty.contains("no such file") && empty.contains("SHA-256 "), "{kind}: {empty}");
    }
    insta::assert_snapshot!(data("kind = \"cifar10\"").unwrap_err().render(), @"
    error: CIFAR-10 is not part of kiln, and `data.path` does not say where it is
    tip: get CIFAR-10 from https://www.cs.toronto.edu/~kriz/cifar.html, and set `data.path` to this file, or to the folder that is in it:
           cifar-10-binary.tar.gz (170052171 bytes)
             SHA-256 c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd
    ");
}

#[test]
fn what_is_there_under_the_published_name_must_be_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cifar-10-binary.tar.gz"), tar_gz(&[("a.txt", b"a".to_vec())])).unwrap();
    let archive = folder.path().join("cifar-10-binary.tar.gz");
    let refused = at("cifar10", &archive, "").unwrap_err();
    assert!(refused.to_string().contains("is not the file of CIFAR-10: its SHA-256 must be c4a38c50"), "{refused}");
    assert!(refused.render().contains("`data.verify` to false"));

    write_idx(folder.path(), IDX_FILES, 10, 3);
    let refused = at("fashion_mnist", folder.path(), "").unwrap_err();
    // All four are other files, and all four are named.
    assert_eq!(refused.to_string().matches("is not the file of Fashion-MNIST").count(), 4, "{refused}");

    for name in IDX_FILES {
        let bytes = fs::read(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(format!("{name}.gz")), gzip(&bytes)).unwrap();
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let refused = at("kmnist", folder.path(), "").unwrap_err();
    assert_eq!(refused.to_string().matches("is not the file of Kuzushiji-MNIST").count(), 4, "{refused}");
    let opened = at("kmnist", folder.path(), "verify = false").unwrap();
    assert_eq!(opened.notices, ["Kuzushiji-MNIST: not compared with what was published (data.verify = false)"]);
    assert_eq!(opened.train.classes[3], "tsu");
}

const IDX_FILES: [&str; 4] = idx::FILES;

#[test]
fn a_set_is_the_same_in_a_folder_and_in_every_archive() {
    let (_folder, examples) = examples();
    for source in examples {
        let kind = source.kind();
        if !KINDS.contains(&kind) && !["idx", "fashion_mnist"].contains(&kind) {
            continue;
        }
        let mut table = serde_json::to_value(&source).unwrap();
        let folder = table["path"].as_str().unwrap().to_owned();
        let files: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (format!("inside/{}", entry.file_name().to_str().unwrap()), fs::read(entry.path()).unwrap()))
            .collect();
        let named: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let expected = open(&source, 1).fingerprint;
        for (name, bytes) in [("set.zip", zip(&named)), ("set.tar.gz", tar_gz(&named)), ("set.tgz", tar_gz(&named))] {
            let path = Path::new(&folder).join(name);
            fs::write(&path, &bytes).unwrap();
            table["path"] = path.to_str().unwrap().into();
            let packed: SourceConfig = serde_json::from_value(table.clone()).unwrap();
            assert_eq!(open(&packed, 1).fingerprint, expected, "{kind} in {name}");
            for length in [0, 10, bytes.len() / 2, bytes.len() - 1] {
                fs::write(&path, &bytes[..length]).unwrap();
                let error = packed.open(1).err().unwrap_or_else(|| panic!("{kind} in {name} cut at {length}"));
                assert_eq!((error.exit_code(), error.tips().is_empty()), (2, false), "{kind}: {}", error.render());
            }
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn emnist_is_turned_upright_and_its_letters_begin_with_a() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1"]
        .map(|name| format!("emnist-letters-{name}-ubyte"));
    write_idx(folder.path(), files.each_ref().map(String::as_str), 27, 0);
    let letters = |from: u8| {
        for (name, count) in [(&files[1], 54), (&files[3], 27)] {
            let labels: Vec<u8> = (0..count).map(|index| from + index % 26).collect();
            fs::write(folder.path().join(name), [&[0, 0, 8, 1, 0, 0, 0, count][..], &labels].concat()).unwrap();
        }
        at("emnist", folder.path(), "split = \"letters\"\nverify = false")
    };
    let opened = letters(1).unwrap();
    assert_eq!((opened.train.classes.len(), &*opened.train.classes[0], &*opened.train.classes[25]), (26, "a", "z"));
    assert_eq!(opened.train.labels[..3], [0, 1, 2]);
    // Stored as 6 x 5 with rows and columns exchanged.
    assert_eq!((opened.train.shape.height, opened.train.shape.width), (5, 6));
    let stored = |row: usize, column: usize| ((row * 5 + column) as u8).wrapping_mul(7);
    assert_eq!(opened.train.image(0)[..3], [stored(0, 0), stored(1, 0), stored(2, 0)]);
    let refused = letters(0).unwrap_err();
    assert!(refused.to_string().contains("labels must be at least 1, got 0 at index 0"), "{refused}");
}

#[test]
fn the_fashion_mnist_of_debian_is_found_and_is_what_was_published() {
    if !Path::new("/usr/share/datasets/fashion-mnist").is_dir() {
        let said = data("kind = \"fashion_mnist\"").unwrap_err().render();
        assert!(said.contains("apt install dataset-fashion-mnist") && said.contains("3aede38d"), "{said}");
        return;
    }
    let opened = data("kind = \"fashion_mnist\"").unwrap();
    assert_eq!((opened.train.len(), opened.test.len(), opened.notices.len()), (60_000, 10_000, 0));
    assert_eq!((&*opened.train.classes[9], opened.train.class_counts()), ("Ankle boot", vec![6000; 10]));
}

/// An archive that claims or holds more than it should be believed.
#[test]
fn archives_that_explode_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = vec![0; 5 << 20];
    let path = folder.path().join("set.zip");
    // 5 MB of zeros behind each name: far more than its rows may have.
    let bomb: Vec<_> = IDX_FILES.iter().map(|name| (*name, zeros.clone())).collect();
    fs::write(&path, zip(&bomb)).unwrap();
    let refused = at("idx", &path, "").unwrap_err();
    assert_eq!((refused.exit_code(), refused.to_string().matches("must start with").count()), (2, 4), "{refused}");
    // A size in the directory of the archive that is not that of the data.
    let mut lying = zip(&[("train-images-idx3-ubyte", vec![7; 100])]);
    let place = lying.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    lying[place + 24..place + 28].copy_from_slice(&u32::MAX.to_le_bytes()[..4]);
    fs::write(&path, lying).unwrap();
    assert_eq!(at("idx", &path, "").unwrap_err().exit_code(), 2);
    // A tar that announces more than there is.
    let mut header = ::tar::Header::new_gnu();
    header.set_path("train-images-idx3-ubyte").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    let path = folder.path().join("set.tar");
    fs::write(&path, header.as_bytes()).unwrap();
    assert_eq!(at("idx", &path, "").unwrap_err().exit_code(), 2);
}
