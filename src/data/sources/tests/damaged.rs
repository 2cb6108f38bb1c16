//! Damaged data folders: each must end in a usage error that names the file, what was found and what is allowed.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::data::{DataConfig, Dataset, ImageShape};
use crate::{Result, data};

/// A way to break a folder.
type Damage = (&'static str, fn(&Path));

fn header(magic: u32, sizes: &[u32]) -> Vec<u8> {
    std::iter::once(&magic).chain(sizes).flat_map(|number| number.to_be_bytes()).collect()
}

fn images(count: u32, rows: u32, columns: u32) -> Vec<u8> {
    let pixels = (0..count * rows * columns).map(|place| place as u8);
    [header(0x803, &[count, rows, columns]), pixels.collect()].concat()
}

fn labels(labels: &[u8]) -> Vec<u8> {
    [header(0x801, &[labels.len() as u32]), labels.to_vec()].concat()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";
const FILES: [&str; 4] = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS];

pub(in super::super) fn write_idx(folder: &Path) {
    write(folder, TRAIN_IMAGES, &images(6, 4, 5));
    write(folder, TRAIN_LABELS, &labels(&[0, 1, 2, 0, 1, 2]));
    write(folder, TEST_IMAGES, &images(3, 4, 5));
    write(folder, TEST_LABELS, &labels(&[2, 1, 0]));
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).unwrap();
}

/// Replaces the plain file by a compressed one with this content.
fn pack(folder: &Path, name: &str, packed: &[u8]) {
    fs::remove_file(folder.join(name)).unwrap();
    write(folder, &format!("{name}.gz"), packed);
}

fn cut(folder: &Path, name: &str, length: usize) {
    let bytes = fs::read(folder.join(name)).unwrap();
    write(folder, name, &bytes[..length]);
}

fn open(kind: &str, folder: &Path) -> Result<Dataset> {
    let path = toml::Value::from(folder.to_str().unwrap());
    let config: DataConfig = toml::from_str(&format!("kind = \"{kind}\"\npath = {path}\nvalidation = 0")).unwrap();
    data::open(&config, 1)
}

/// Breaks a good folder in each way; returns what is said, with the folder's path left out.
fn messages(kind: &str, prepare: fn(&Path), damages: &[Damage]) -> String {
    let mut text = String::new();
    for (name, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        damage(folder.path());
        let error = open(kind, folder.path()).expect_err(name);
        assert_eq!(error.exit_code(), 2, "{name}");
        assert!(!error.tips().is_empty(), "{name}: no tip");
        let said = error.render().replace(folder.path().to_str().unwrap(), "DATA");
        text.push_str(&format!("# {name}\n{said}\n\n"));
    }
    text
}

#[test]
fn a_good_idx_folder_opens_plain_or_packed() {
    let folder = tempfile::tempdir().unwrap();
    write_idx(folder.path());
    let plain = open("idx", folder.path()).unwrap();
    assert_eq!(plain.train.shape, ImageShape { channels: 1, height: 4, width: 5 });
    assert_eq!((plain.train.len(), plain.test.len(), plain.train.classes.len()), (6, 3, 3));
    assert_eq!(plain.train.image(1)[0], 20);
    assert!(plain.notices.is_empty());

    write(folder.path(), "train-images-idx3-ubyte.gz", b"not read");
    let both = open("idx", folder.path()).unwrap();
    assert_eq!(both.notices.len(), 1);
    assert!(both.notices[0].contains("train-images-idx3-ubyte.gz` beside it is not"), "{}", both.notices[0]);

    for name in FILES {
        let bytes = fs::read(folder.path().join(name)).unwrap();
        pack(folder.path(), name, &gzip(&bytes));
    }
    assert_eq!(open("idx", folder.path()).unwrap().fingerprint, plain.fingerprint);
}

#[test]
fn every_broken_idx_folder_is_refused_with_file_found_and_allowed() {
    let damages: &[Damage] = &[
        ("no folder", |folder| fs::remove_dir_all(folder).unwrap()),
        ("empty folder", |folder| FILES.iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap())),
        ("one file missing", |folder| fs::remove_file(folder.join(TEST_LABELS)).unwrap()),
        ("a folder for a file", |folder| {
            fs::remove_file(folder.join(TRAIN_LABELS)).unwrap();
            fs::create_dir(folder.join(TRAIN_LABELS)).unwrap();
        }),
        ("empty file", |folder| write(folder, TRAIN_IMAGES, b"")),
        ("cut in the header", |folder| cut(folder, TRAIN_IMAGES, 10)),
        ("cut in the pixels", |folder| cut(folder, TRAIN_IMAGES, 100)),
        ("cut in the labels", |folder| cut(folder, TRAIN_LABELS, 12)),
        ("trailing bytes", |folder| write(folder, TEST_IMAGES, &[images(3, 4, 5), vec![0; 7]].concat())),
        ("a web page", |folder| write(folder, TRAIN_IMAGES, b"<!DOCTYPE html><html>Not found</html>")),
        ("images and labels swapped", |folder| {
            write(folder, TRAIN_IMAGES, &labels(&[0, 1, 2, 0, 1, 2]));
        }),
        ("packed without the ending", |folder| write(folder, TRAIN_IMAGES, &gzip(&images(6, 4, 5)))),
        ("floats", |folder| write(folder, TRAIN_IMAGES, &header(0xd03, &[6, 4, 5]))),
        ("colour images", |folder| write(folder, TRAIN_IMAGES, &header(0x804, &[6, 3, 4, 5]))),
        ("a header that claims terabytes", |folder| write(folder, TRAIN_IMAGES, &header(0x803, &[u32::MAX, 500, 500]))),
        ("a header that claims more than is there", |folder| {
            write(folder, TRAIN_IMAGES, &header(0x803, &[60_000, 28, 28]));
        }),
        ("no images", |folder| write(folder, TRAIN_IMAGES, &images(0, 4, 5))),
        ("no labels", |folder| write(folder, TEST_LABELS, &labels(&[]))),
        ("images without rows", |folder| write(folder, TRAIN_IMAGES, &images(6, 0, 5))),
        ("images too wide", |folder| write(folder, TRAIN_IMAGES, &images(6, 1, 513))),
        ("a label too few", |folder| write(folder, TRAIN_LABELS, &labels(&[0, 1, 2, 0, 1]))),
        ("test images of another size", |folder| write(folder, TEST_IMAGES, &images(3, 5, 4))),
        ("a class without images", |folder| write(folder, TRAIN_LABELS, &labels(&[0, 1, 3, 0, 1, 3]))),
        ("one class", |folder| write(folder, TRAIN_LABELS, &labels(&[0; 6]))),
        ("a test label of no class", |folder| write(folder, TEST_LABELS, &labels(&[0, 1, 7]))),
        ("packed and cut", |folder| pack(folder, TRAIN_IMAGES, &gzip(&images(6, 4, 5))[..40])),
        ("packed and flipped", |folder| {
            let mut packed = gzip(&images(6, 4, 5));
            let checksum = packed.len() - 6;
            packed[checksum] ^= 1;
            pack(folder, TRAIN_IMAGES, &packed);
        }),
        ("not packed but so named", |folder| pack(folder, TRAIN_IMAGES, &images(6, 4, 5))),
        ("a bomb", |folder| pack(folder, TRAIN_IMAGES, &gzip(&[images(6, 4, 5), vec![0; 10 << 20]].concat()))),
        ("packed, claiming more than it can hold", |folder| {
            pack(folder, TRAIN_IMAGES, &gzip(&header(0x803, &[60_000, 512, 512])));
        }),
    ];
    insta::assert_snapshot!(messages("idx", write_idx, damages), @r#"
    # no folder
    error: `data.path`: cannot read the folder `DATA`
    caused by: No such file or directory (os error 2)
    tip: `data.path` must be a folder with four IDX files, or an archive of them
    tip: a relative `data.path` starts at the folder of the config file that it is written in; with --set, at the working folder

    # empty folder
    error: `DATA/train-images-idx3-ubyte`: no such file, nor with `.gz`
    `DATA/train-labels-idx1-ubyte`: no such file, nor with `.gz`
    `DATA/t10k-images-idx3-ubyte`: no such file, nor with `.gz`
    `DATA/t10k-labels-idx1-ubyte`: no such file, nor with `.gz`
    tip: the folder must hold train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, each plain or with `.gz`; it holds nothing. Files of other names are named by `data.train_images`, `data.train_labels`, `data.test_images` and `data.test_labels`

    # one file missing
    error: `DATA/t10k-labels-idx1-ubyte`: no such file, nor with `.gz`
    tip: the folder must hold train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, each plain or with `.gz`; it holds t10k-images-idx3-ubyte, train-images-idx3-ubyte, train-labels-idx1-ubyte. Files of other names are named by `data.train_images`, `data.train_labels`, `data.test_images` and `data.test_labels`

    # a folder for a file
    error: `DATA/train-labels-idx1-ubyte`: must be a file, got a folder or a device
    tip: point `data.path` at the folder that holds the four files themselves

    # empty file
    error: `DATA/train-images-idx3-ubyte`: must start with a header of 16 bytes, got 0 bytes in all
    tip: the file was cut off; copy or download it again

    # cut in the header
    error: `DATA/train-images-idx3-ubyte`: must start with a header of 16 bytes, got 10 bytes in all
    tip: the file was cut off; copy or download it again

    # cut in the pixels
    error: `DATA/train-images-idx3-ubyte`: must hold 120 bytes after its header, which says 6 x 4 x 5, got 84
    tip: the file is damaged; copy or download it again

    # cut in the labels
    error: `DATA/train-labels-idx1-ubyte`: must hold 6 bytes after its header, which says 6, got 4
    tip: the file is damaged; copy or download it again

    # trailing bytes
    error: `DATA/t10k-images-idx3-ubyte`: must hold 60 bytes after its header, which says 3 x 4 x 5, got more than 60
    tip: the file is damaged; copy or download it again

    # a web page
    error: `DATA/train-images-idx3-ubyte`: must start with 0x00000803 (images: unsigned bytes, 3 dimensions), got 0x3c21444f (not IDX)
    tip: this is no IDX file; copy or download it again

    # images and labels swapped
    error: `DATA/train-images-idx3-ubyte`: must start with 0x00000803 (images: unsigned bytes, 3 dimensions), got 0x00000801 (unsigned bytes, 1 dimension)
    tip: images and labels are swapped

    # packed without the ending
    error: `DATA/train-images-idx3-ubyte`: must start with 0x00000803 (images: unsigned bytes, 3 dimensions), got 0x1f8b0800 (gzip-compressed)
    tip: give its name the ending `.gz`

    # floats
    error: `DATA/train-images-idx3-ubyte`: must start with 0x00000803 (images: unsigned bytes, 3 dimensions), got 0x00000d03 (32-bit floats, 3 dimensions)
    tip: kiln reads IDX images as [images, rows, columns] and labels as [images], both of unsigned bytes

    # colour images
    error: `DATA/train-images-idx3-ubyte`: must start with 0x00000803 (images: unsigned bytes, 3 dimensions), got 0x00000804 (unsigned bytes, 4 dimensions)
    tip: kiln reads IDX images as [images, rows, columns] and labels as [images], both of unsigned bytes

    # a header that claims terabytes
    error: `DATA/train-images-idx3-ubyte`: may hold at most 17179869184 bytes, its header claims 1073741823750000
    tip: the header is damaged, or the set is too large for kiln, which keeps it in memory

    # a header that claims more than is there
    error: `DATA/train-images-idx3-ubyte`: must hold 47040000 bytes after its header, which says 60000 x 28 x 28, got 0
    tip: the file is damaged; copy or download it again

    # no images
    error: `DATA/train-images-idx3-ubyte`: must hold at least 1 image, got 0
    tip: the file is empty; make it again

    # no labels
    error: `DATA/t10k-labels-idx1-ubyte`: must hold at least 1 label, got 0
    tip: the file is empty; make it again

    # images without rows
    error: `DATA/train-images-idx3-ubyte`: images must have 1 to 512 rows, got 0
    tip: the header is damaged, or the images must be made smaller

    # images too wide
    error: `DATA/train-images-idx3-ubyte`: images must have 1 to 512 columns, got 513
    tip: the header is damaged, or the images must be made smaller

    # a label too few
    error: `DATA/train-labels-idx1-ubyte`: must hold one label for each of the 6 images in `DATA/train-images-idx3-ubyte`, got 5
    tip: the two files come from different sets, or one was cut off when it was made

    # test images of another size
    error: `DATA/t10k-images-idx3-ubyte`: images must be 4 x 5 pixels as in `DATA/train-images-idx3-ubyte`, got 5 x 4 pixels
    tip: training and test images must have the same size

    # a class without images
    error: `DATA/train-labels-idx1-ubyte`: labels must be 0, 1, 2 and so on without a gap, got labels up to 3 but no 2
    tip: renumber the labels from 0; every class needs at least one training image

    # one class
    error: `DATA/train-labels-idx1-ubyte`: there must be at least 2 classes, got 1: every label is 0
    tip: a classifier needs something to tell apart

    # a test label of no class
    error: `DATA/t10k-labels-idx1-ubyte`: labels must be 0 to 2, the classes of the training labels, got 7 at index 2
    tip: training and test labels must use the same classes

    # packed and cut
    error: `DATA/train-images-idx3-ubyte.gz`: cannot be read
    caused by: incomplete deflate stream
    tip: check that it is a complete gzip file; download it again

    # packed and flipped
    error: `DATA/train-images-idx3-ubyte.gz`: cannot be read
    caused by: corrupt gzip stream does not have a matching checksum
    tip: check that it is a complete gzip file; download it again

    # not packed but so named
    error: `DATA/train-images-idx3-ubyte.gz`: cannot be read
    caused by: invalid gzip header
    tip: check that it is a complete gzip file; download it again

    # a bomb
    error: `DATA/train-images-idx3-ubyte.gz`: must hold 120 bytes after its header, which says 6 x 4 x 5, got more than 120
    tip: the file is damaged; copy or download it again

    # packed, claiming more than it can hold
    error: `DATA/train-images-idx3-ubyte.gz`: must hold 15728640000 bytes after its header, which says 60000 x 512 x 512, got at most 34040
    tip: the file is damaged; copy or download it again
    "#);
}

fn write_picture(path: &Path, shade: u8) {
    image::RgbImage::from_pixel(9, 7, image::Rgb([shade; 3])).save(path).unwrap();
}

fn write_folder(folder: &Path) {
    for part in ["train", "test"] {
        for (class, shade) in [("cat", 10), ("dog", 200)] {
            fs::create_dir_all(folder.join(part).join(class)).unwrap();
            write_picture(&folder.join(part).join(class).join("1.png"), shade);
            write_picture(&folder.join(part).join(class).join("2.bmp"), shade + 1);
        }
    }
    write(&folder.join("train/cat"), ".hidden", b"not a picture");
}

#[test]
fn a_good_folder_of_pictures_opens_with_classes_and_files_by_name() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    let dataset = open("folder", folder.path()).unwrap();
    assert_eq!(*dataset.train.classes, ["cat".to_owned(), "dog".to_owned()]);
    assert_eq!(*dataset.train.labels, [0, 0, 1, 1]);
    assert_eq!(dataset.train.shape, ImageShape { channels: 1, height: 28, width: 28 });
    let shades: Vec<u8> = (0..4).map(|index| dataset.train.image(index)[400]).collect();
    assert_eq!(shades, [10, 11, 200, 201]);
}

#[test]
fn every_broken_folder_of_pictures_is_refused_with_file_found_and_allowed() {
    let damages: &[Damage] = &[
        ("no folder", |folder| fs::remove_dir_all(folder).unwrap()),
        ("one class", |folder| {
            fs::remove_dir_all(folder.join("train/cat")).unwrap();
            fs::remove_dir_all(folder.join("test/cat")).unwrap();
        }),
        ("no picture in test", |folder| {
            fs::remove_dir_all(folder.join("test/cat")).unwrap();
            fs::remove_dir_all(folder.join("test/dog")).unwrap();
        }),
        ("a class only in test", |folder| fs::remove_dir_all(folder.join("train/dog")).unwrap_or(())),
        ("a third class only in test", |folder| {
            fs::create_dir(folder.join("test/bird")).unwrap();
            write_picture(&folder.join("test/bird/1.png"), 1);
        }),
        ("a class without pictures", |folder| {
            for picture in ["1.png", "2.bmp"] {
                fs::remove_file(folder.join("train/cat").join(picture)).unwrap();
            }
        }),
        ("a picture outside a class", |folder| write_picture(&folder.join("train/1.png"), 1)),
        ("much at once", |folder| {
            fs::create_dir_all(folder.join("test/bird/small")).unwrap();
            write_picture(&folder.join("test/bird/small/1.png"), 1);
            write_picture(&folder.join("train/loose.PNG"), 1);
            write_picture(&folder.join("test/loose.jpg"), 1);
            fs::remove_dir_all(folder.join("train/cat")).unwrap();
        }),
        #[cfg(unix)]
        ("a folder that leads back to itself", |folder| {
            std::os::unix::fs::symlink(".", folder.join("train/cat/again")).unwrap();
        }),
        ("a text file", |folder| write(&folder.join("train/cat"), "notes.txt", b"cats are fine")),
        ("an empty file", |folder| write(&folder.join("train/cat"), "1.png", b"")),
        ("a truncated PNG", |folder| cut(&folder.join("test/dog"), "1.png", 50)),
        ("a truncated JPEG", |folder| {
            image::RgbImage::from_fn(99, 77, |x, y| image::Rgb([x as u8, y as u8, 0]))
                .save(folder.join("train/dog/3.jpg"))
                .unwrap();
            cut(&folder.join("train/dog"), "3.jpg", 1000);
        }),
        ("a picture that claims 60,000 x 60,000 pixels", |folder| {
            let mut bytes = fs::read(folder.join("train/dog/2.bmp")).unwrap();
            for place in [18, 22] {
                bytes[place..place + 4].copy_from_slice(&60_000_u32.to_le_bytes());
            }
            write(&folder.join("train/dog"), "2.bmp", &bytes);
        }),
        ("seven bad files", |folder| {
            (0..7).for_each(|index| write(&folder.join("train/cat"), &format!("{index}.gif"), b"GIF89a"));
        }),
    ];
    insta::assert_snapshot!(messages("folder", write_folder, damages), @r#"
    # no folder
    error: `data.path`: cannot read the folder `DATA`
    caused by: No such file or directory (os error 2)
    tip: the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with one folder per class in each
    tip: a relative `data.path` starts at the folder of the config file that it is written in; with --set, at the working folder

    # one class
    error: `DATA/train`: must hold a folder with pictures for each of at least 2 classes, got 1
    tip: the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with one folder per class in each

    # no picture in test
    error: the test folder holds no picture of any class
    tip: the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with one folder per class in each

    # a class only in test
    error: `DATA/train`: must hold a folder with pictures for each of at least 2 classes, got 1
    there are test pictures, but none to train on, of `dog`
    tip: the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with one folder per class in each

    # a third class only in test
    error: there are test pictures, but none to train on, of `bird`
    tip: the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with one folder per class in each

    # a class without pictures
    error: `DATA/train`: must hold a folder with pictures for each of at least 2 classes, got 1
    there are test pictures, but none to train on, of `cat`
    tip: the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with one folder per class in each

    # a picture outside a class
    error: `DATA/train/1.png`: a picture must lie in the folder of its class; 1 of `DATA/train` lie in none
    tip: the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with one folder per class in each

    # much at once
    error: `DATA/train/loose.PNG`: a picture must lie in the folder of its class; 1 of `DATA/train` lie in none
    `DATA/test/loose.jpg`: a picture must lie in the folder of its class; 1 of `DATA/test` lie in none
    `DATA/train`: must hold a folder with pictures for each of at least 2 classes, got 1
    there are test pictures, but none to train on, of `bird`, `cat`
    tip: the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with one folder per class in each

    # a folder that leads back to itself
    error: `DATA/train/cat/again/again/again/again/again/again/again/again/again/again/again/again/again/again/again/again`: lies more than 16 folders deep
    tip: the folder must hold one folder of pictures per class, or `train`, `test` and if you like `val` with one folder per class in each

    # a text file
    error: `DATA/train/cat/notes.txt`: a picture must be PNG, JPEG, BMP, WebP or GIF, got 13 bytes that begin with "cats are"
    tip: remove or replace what is no picture, or set `data.on_unreadable` to "skip": `kiln data` lists all of them

    # an empty file
    error: `DATA/train/cat/1.png`: a picture must be PNG, JPEG, BMP, WebP or GIF, got an empty file
    tip: remove or replace what is no picture, or set `data.on_unreadable` to "skip": `kiln data` lists all of them

    # a truncated PNG
    error: `DATA/test/dog/1.png`: the PNG picture is damaged or cut off
    tip: remove or replace what is no picture, or set `data.on_unreadable` to "skip": `kiln data` lists all of them

    # a truncated JPEG
    error: `DATA/train/dog/3.jpg`: the JPEG picture is cut off: its end is missing
    tip: remove or replace what is no picture, or set `data.on_unreadable` to "skip": `kiln data` lists all of them

    # a picture that claims 60,000 x 60,000 pixels
    error: `DATA/train/dog/2.bmp`: a picture may have at most 64 million pixels, got 60000 x 60000
    tip: remove or replace what is no picture, or set `data.on_unreadable` to "skip": `kiln data` lists all of them

    # seven bad files
    error: `DATA/train/cat/0.gif`: the GIF picture is damaged or cut off
    `DATA/train/cat/1.gif`: the GIF picture is damaged or cut off
    `DATA/train/cat/2.gif`: the GIF picture is damaged or cut off
    `DATA/train/cat/3.gif`: the GIF picture is damaged or cut off
    `DATA/train/cat/4.gif`: the GIF picture is damaged or cut off
    and 2 more
    tip: remove or replace what is no picture, or set `data.on_unreadable` to "skip": `kiln data` lists all of them
    "#);
}
