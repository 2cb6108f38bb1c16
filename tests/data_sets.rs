//! Data sets in files: found from every folder, and refused before they fill the memory.

use std::fs;
use std::path::Path;

use crate::fixture::Folder;

const CONFIG: &str = r#"
name = "tiny"

[data]
kind = "idx"
path = "../sets/tiny"
validation = 8

[model]
kind = "linear"

[train]
epochs = 2
batch_size = 8

[schedule]
kind = "constant"
"#;

fn header(magic: u32, sizes: &[u32]) -> Vec<u8> {
    std::iter::once(&magic).chain(sizes).flat_map(|number| number.to_be_bytes()).collect()
}

/// An IDX set of two classes, dark and bright.
fn write_set(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (split, count) in [("train", 40), ("t10k", 8)] {
        let labels: Vec<u8> = (0..count).map(|index| index as u8 % 2).collect();
        let pixels: Vec<u8> = labels.iter().flat_map(|label| [40 + 150 * label; 36]).collect();
        fs::write(folder.join(format!("{split}-images-idx3-ubyte")), [header(0x803, &[count, 6, 6]), pixels].concat())
            .unwrap();
        fs::write(folder.join(format!("{split}-labels-idx1-ubyte")), [header(0x801, &[count]), labels].concat())
            .unwrap();
    }
}

#[test]
fn a_run_finds_its_data_from_every_folder() {
    let folder = Folder::new();
    write_set(&folder.path().join("sets/tiny"));
    folder.write("configs/tiny.toml", CONFIG);
    fs::create_dir(folder.path().join("elsewhere")).unwrap();
    // From the folder of the config's parent: the path is the config file's.
    folder.json(&["train", "configs/tiny.toml", "--device", "flex"]);
    let stored = folder.read("runs/tiny-0001/config.toml");
    let path = stored.lines().find_map(|line| line.strip_prefix("path = ")).unwrap();
    let path = path.trim_matches(['"', '\'']);
    assert!(Path::new(path).is_absolute(), "{path}");

    let extended = folder.kiln_in("elsewhere", &["extend", "../runs/tiny-0001", "--epochs", "3"]);
    assert_eq!(extended.code, 0, "{}", extended.stderr);
    assert_eq!(folder.metrics("runs/tiny-0001").len(), 3);
    let measured = folder.kiln_in("elsewhere", &["eval", "../runs/tiny-0001"]);
    assert_eq!(measured.code, 0, "{}", measured.stderr);
    let forked = folder.kiln_in("elsewhere", &["fork", "../runs/tiny-0001", "--set", "train.epochs=2"]);
    assert_eq!(forked.code, 0, "{}", forked.stderr);

    // On the command line, a path is as the shell completes it.
    let set = "data.path=sets/tiny";
    folder.json(&["plan", "configs/tiny.toml", "--set", set]);
    let refused = folder.kiln_in("elsewhere", &["plan", "../configs/tiny.toml", "--set", set]);
    assert_eq!(refused.code, 2);
    let tried = folder.path().join("elsewhere").join("sets/tiny");
    let told = refused.stderr.contains(&format!("cannot read the folder `{}`", fs_path(&tried)));
    assert!(told, "{}", refused.stderr);
}

/// As the program sees it: a temporary folder may be reached through a link.
fn fs_path(path: &Path) -> String {
    let parent = path.ancestors().find(|path| path.exists()).unwrap();
    parent.canonicalize().unwrap().join(path.strip_prefix(parent).unwrap()).display().to_string()
}

/// Each set claims more than it should be believed; 3 GB of address space are not enough to believe it.
#[cfg(target_os = "linux")]
#[test]
fn files_that_promise_more_than_memory_holds_are_refused_in_bounded_memory() {
    use std::io::Write as _;

    let write_gz = |path: &Path, head: &[u8], zeros: usize| {
        let file = fs::File::create(path).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(head).unwrap();
        let block = vec![0; 1 << 20];
        for _ in 0..zeros >> 20 {
            encoder.write_all(&block).unwrap();
        }
        encoder.finish().unwrap();
    };
    type Bomb<'a> = (&'a str, Box<dyn Fn(&Path)>, &'a str);
    let bombs: [Bomb; 3] = [
        (
            "a header that promises 2^32 images",
            Box::new(|folder| {
                fs::write(folder.join("train-images-idx3-ubyte"), header(0x803, &[u32::MAX, 2, 2])).unwrap();
            }),
            "must hold 17179869180 bytes after its header, which says 4294967295 x 2 x 2, got 0",
        ),
        (
            "a bomb that is what its header says",
            Box::new(move |folder| {
                fs::remove_file(folder.join("train-images-idx3-ubyte")).unwrap();
                // 4 GiB of black images in 20 MB or so.
                let head = header(0x803, &[16_384, 512, 512]);
                write_gz(&folder.join("train-images-idx3-ubyte.gz"), &head, 4 << 30);
            }),
            "may unpack to at most 1 GiB or 100 times its size, its header claims 4294967296 bytes",
        ),
        (
            "a bomb behind a small set",
            Box::new(move |folder| {
                let bytes = fs::read(folder.join("train-images-idx3-ubyte")).unwrap();
                fs::remove_file(folder.join("train-images-idx3-ubyte")).unwrap();
                write_gz(&folder.join("train-images-idx3-ubyte.gz"), &bytes, 1 << 30);
            }),
            "must hold 1440 bytes after its header, which says 40 x 6 x 6, got more than 1440",
        ),
    ];
    for (name, damage, message) in bombs {
        let folder = Folder::new();
        write_set(&folder.path().join("set"));
        damage(&folder.path().join("set"));
        let sets = ["data.kind=idx", "data.path=set", "data.validation=8"];
        let ran = folder.kiln_limited(3_000_000, &["plan", "--set", sets[0], "--set", sets[1], "--set", sets[2]]);
        assert_eq!(ran.code, 2, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(message), "{name}: {}", ran.stderr);
    }
}

/// A bitmap of 12 x 12 pixels of one grey, a little different with each `number`.
fn picture(path: &Path, grey: u8, number: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let head: [u8; 54] = {
        let mut head = [0; 54];
        head[..2].copy_from_slice(b"BM");
        for (place, value) in [(2, 54 + 12 * 36_u32), (10, 54), (14, 40), (18, 12), (22, 12), (34, 12 * 36)] {
            head[place..place + 4].copy_from_slice(&value.to_le_bytes());
        }
        (head[26], head[28]) = (1, 24);
        head
    };
    let mut pixels = [grey; 12 * 36];
    pixels[usize::from(number) * 3..][..3].fill(grey / 2);
    fs::write(path, [&head[..], &pixels].concat()).unwrap();
}

#[test]
fn from_a_folder_of_pictures_to_a_measured_model_in_two_commands() {
    let folder = Folder::new();
    let root = folder.path().join("my greys");
    (0..60).for_each(|number| picture(&root.join(format!("dark/{number}.bmp")), 40, number));
    (0..60).for_each(|number| picture(&root.join(format!("light/deep/{number}.bmp")), 220, number));
    (0..8).for_each(|number| picture(&root.join(format!("rare/{number}.bmp")), 130, number));
    fs::write(root.join("dark/cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    fs::write(root.join("README.md"), b"greys").unwrap();
    let made = folder.kiln(&["new", "my greys"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stdout.contains("\nwrote my greys.toml\n"), "{}", made.stdout);
    let config = folder.read("my greys.toml");
    for wanted in [
        "# 128 pictures of 3 classes",
        "#   rare        8",
        "channels = 1             # every picture is grey",
        "height = 28              # the pictures are 12 x 12 pixels",
        "test = 0.2",
        "on_unreadable = \"skip\"   # 1 files cannot be read",
        "sampling = \"balanced\"    # the largest class has",
        "kiln train 'my greys.toml'",
    ] {
        assert!(config.contains(wanted), "{wanted} is not in:\n{config}");
    }
    let again = folder.kiln(&["new", "my greys"]);
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("`my greys.toml` exists already"), "{}", again.stderr);

    let sets = ["--set", "train.epochs=4", "--set", "data.height=12", "--set", "data.width=12"];
    let trained = folder.json(&[&["train", "my greys.toml", "--device", "flex"], &sets[..]].concat());
    assert_eq!(trained["test_accuracy"], 1.0, "{trained}");
    let record = folder.read_json("runs/my-greys-0001/run.json");
    let warnings: Vec<_> = record["warnings"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(
        warnings.iter().any(|warning| warning.contains("cannot be read as pictures: 1 of 129 files")),
        "{warnings:?}"
    );
    let plan = folder.json(&["plan", "my greys.toml"]);
    let [of_rare, of_dark] = [0, 1].map(|place| plan["seen_of_class"][place].as_f64().unwrap());
    assert!(of_rare > 4.0 && of_dark < 1.0, "{plan}");
}

#[test]
fn many_pictures_are_kept_decoded_and_only_as_long_as_they_are_right() {
    let folder = Folder::new();
    for number in 0..2100_u32 {
        let shade = if number % 2 == 0 { 40 } else { 200 };
        let path = folder.path().join(format!("many/{}/{number}.bmp", if number % 2 == 0 { "dark" } else { "light" }));
        picture(&path, shade, (number % 140) as u8);
    }
    let kept = || {
        let folder = folder.path().join("cache/kiln/pictures");
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let cache = folder.path().join("cache");
    let look = |more: &[&str]| {
        let sets = [
            "--set",
            "data.kind=folder",
            "--set",
            "data.path=many",
            "--set",
            "data.height=12",
            "--set",
            "data.width=12",
        ];
        let arguments = [&["plan", "smoke", "--json"][..], &sets, more].concat();
        let ran = folder.kiln_with(&[("XDG_CACHE_HOME", cache.to_str().unwrap())], &arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        (ran.stdout, ran.stderr)
    };
    let (first, _) = look(&["--set", "data.cache=false"]);
    assert!(kept().is_empty());
    assert_eq!(look(&[]).0, first);
    let [file] = &kept()[..] else { panic!("{:?}", kept()) };
    let (again, said) = look(&[]);
    assert!(again == first && !said.contains("damaged"), "{said}");

    let mut bytes = fs::read(file).unwrap();
    bytes[1000] ^= 1;
    fs::write(file, bytes).unwrap();
    let (again, said) = look(&[]);
    assert!(said.contains("is damaged; the pictures were decoded again"), "{said}");
    assert_eq!(again, first);
    assert!(!look(&[]).1.contains("damaged"));
    // A picture more makes another file.
    picture(&folder.path().join("many/dark/more.bmp"), 41, 3);
    assert_ne!(look(&[]).0, first);
    assert_eq!(kept().len(), 2);
}

#[test]
fn a_run_that_learned_nothing_says_so_everywhere() {
    let folder = Folder::new();
    let sets = ["--set", "optimizer.learning_rate=1e-9", "--set", "train.epochs=1"];
    let ran = folder.kiln(&[&["train", "smoke", "--device", "flex"], &sets[..]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = "the network has learned nothing that shows: ";
    assert!(ran.stderr.contains(&format!("warning: {told}")), "{}", ran.stderr);
    let record = folder.read_json("runs/smoke-0001/run.json");
    assert!(record["result"]["findings"][0].as_str().unwrap().starts_with(told), "{record}");
    assert!(folder.read("runs/smoke-0001/report.html").contains(told));
}
