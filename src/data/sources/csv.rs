//! Pictures named in a table: a CSV file with a path and a label in each row, and a part if one likes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ::csv::{ReaderBuilder, StringRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::folder::layout::{TEST, TRAIN, VALIDATION};
use super::pictures::{self, Found, Reading};
use super::{OnUnreadable, Source, Splits, a_fifth, check_shape, check_test_share, one, twenty_eight, yes};
use crate::check::{Check, Problems};
use crate::data::{DataPath, ImageShape};
use crate::{Error, Result};

/// Pictures named in a CSV file, with a path and a label in each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CsvConfig {
    /// The CSV file. Its first row names the columns. Paths in it start at its own folder.
    pub path: DataPath,
    /// The column of the pictures' paths; unset: `path`, `file`, `filename` or `image`.
    #[serde(default)]
    pub path_column: Option<String>,
    /// The column of the labels, which become the names of the classes; unset: `label` or `class`.
    #[serde(default)]
    pub label_column: Option<String>,
    /// The column that says `train`, `val` or `test`; unset: `split`, where there is one. Rows that say `val` take the place
    /// of `data.validation`.
    #[serde(default)]
    pub split_column: Option<String>,
    /// Colour channels: 1 turns every picture grey, 3 keeps colour.
    #[serde(default = "one")]
    pub channels: usize,
    /// Rows that every picture is resized to.
    #[serde(default = "twenty_eight")]
    pub height: usize,
    /// Columns that every picture is resized to.
    #[serde(default = "twenty_eight")]
    pub width: usize,
    /// The share of each class that is kept for testing where no row says `test`. Which pictures these are depends on their
    /// files' contents alone: the same for every seed, and added pictures move no other.
    #[serde(default = "a_fifth")]
    pub test: f64,
    /// What becomes of a data set with files that cannot be read as pictures: "error" refuses it, "skip" leaves them out
    /// and counts them.
    #[serde(default)]
    pub on_unreadable: OnUnreadable,
    /// Keep decoded pictures in the user's cache folder, where there are many, so that they need not be decoded the next time.
    /// When a file changes, all are decoded again.
    #[serde(default = "yes")]
    pub cache: bool,
}

/// The names of columns that need not be given.
const PATH: [&str; 6] = ["path", "file", "filename", "filepath", "image", "image_path"];
const LABEL: [&str; 4] = ["label", "class", "category", "target"];
const SPLIT: [&str; 4] = ["split", "set", "part", "subset"];

const LAYOUT: &str = "`data.path` must be a CSV file whose first row names its columns, such as `path,label` or \
                      `path,label,split`";

/// The most bytes of a table: 1 GiB.
const LARGEST: u64 = 1 << 30;

/// Problems of one kind that are listed one by one.
const LISTED: usize = 5;

impl CsvConfig {
    /// The defaults for the table at `path`.
    pub fn new(path: impl Into<DataPath>) -> Self {
        Self {
            path: path.into(),
            path_column: None,
            label_column: None,
            split_column: None,
            channels: one(),
            height: twenty_eight(),
            width: twenty_eight(),
            test: a_fifth(),
            on_unreadable: OnUnreadable::default(),
            cache: true,
        }
    }

    fn shape(&self) -> ImageShape {
        ImageShape { channels: self.channels, height: self.height, width: self.width }
    }
}

impl Check for CsvConfig {
    fn check(&self, problems: &mut Problems) {
        self.path.check("path", problems);
        check_shape(self.shape(), problems);
        check_test_share(self.test, problems);
    }
}

impl Source for CsvConfig {
    fn open(&self, _seed: u64) -> Result<Splits> {
        let reading =
            Reading { shape: self.shape(), test: self.test, on_unreadable: self.on_unreadable, cache: self.cache };
        pictures::open(self.table()?, &reading)
    }

    #[cfg(test)]
    fn example(folder: &Path) -> Self {
        let mut table = "path,label,split\n".to_owned();
        for (split, pictures) in [("train", 3), ("test", 2)] {
            for (class, shade) in [("rook", 30), ("gull", 220)] {
                for number in 0..pictures {
                    let name = format!("{split}-{class}-{number}.png");
                    let picture = image::RgbImage::from_pixel(9, 7, image::Rgb([shade, shade + number, 99]));
                    picture.save(folder.join(&name)).unwrap();
                    table.push_str(&format!("{name},{class},{split}\n"));
                }
            }
        }
        std::fs::write(folder.join("birds.csv"), table).unwrap();
        Self { channels: 3, height: 8, width: 6, ..Self::new(folder.join("birds.csv")) }
    }
}

/// Where the columns are.
struct Columns {
    path: usize,
    label: usize,
    split: Option<usize>,
}

/// What is wrong, by kind: the first few of each, and how many there are.
#[derive(Default)]
struct Wrong(BTreeMap<&'static str, (Vec<String>, usize)>);

impl Wrong {
    fn add(&mut self, kind: &'static str, found: impl FnOnce() -> String) {
        let (listed, count) = self.0.entry(kind).or_default();
        *count += 1;
        if listed.len() < LISTED {
            listed.push(found());
        }
    }

    fn lines(self) -> Vec<String> {
        let line = |(kind, (listed, count)): (&str, (Vec<String>, usize))| {
            let more = count.saturating_sub(listed.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{kind}: {}{more}", listed.join(", "))
        };
        self.0.into_iter().map(line).collect()
    }
}

impl CsvConfig {
    /// The pictures that the table names.
    fn table(&self) -> Result<Found> {
        let file = self.path.absolute();
        let shown = file.display().to_string();
        let metadata = std::fs::metadata(&file).map_err(|error| self.path.unreadable(&file, error, LAYOUT))?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(Error::usage(format!("`{shown}`: must be a CSV file of at most 1 GiB")).tip(LAYOUT));
        }
        let unreadable = |error: ::csv::Error| {
            Error::usage(format!("`{shown}`: cannot be read as CSV")).caused_by(error).tip(LAYOUT)
        };
        let opened = File::open(&file).map_err(|error| self.path.unreadable(&file, error, LAYOUT))?;
        let mut reader = ReaderBuilder::new().flexible(true).trim(::csv::Trim::All).from_reader(opened);
        let columns = self.columns(&shown, reader.headers().map_err(unreadable)?)?;
        let home = file.parent().unwrap_or(Path::new("/")).to_owned();
        let mut parts: [BTreeMap<String, Vec<PathBuf>>; 3] = Default::default();
        let (mut wrong, mut seen, mut record) = (Wrong::default(), BTreeMap::new(), StringRecord::new());
        while reader.read_record(&mut record).map_err(unreadable)? {
            let line = record.position().map_or(0, ::csv::Position::line);
            let cell = |column: usize| record.get(column).map(str::trim).filter(|cell| !cell.is_empty());
            let (Some(path), Some(label)) = (cell(columns.path), cell(columns.label)) else {
                wrong.add("rows without a path or a label, by line", || line.to_string());
                continue;
            };
            let part = match columns.split.map(|column| cell(column).unwrap_or_default()) {
                None => 0,
                Some(text) => {
                    let is = |names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
                    match [TRAIN, VALIDATION, TEST].iter().position(|names| is(names)) {
                        Some(part) => part,
                        None => {
                            wrong
                                .add("parts that are not train, val or test, by line", || format!("{line} \"{text}\""));
                            continue;
                        }
                    }
                }
            };
            let picture = home.join(path);
            if let Some(other) = seen.insert(picture.clone(), line) {
                wrong.add("pictures that are named twice, by lines", || format!("{other} and {line}"));
            }
            if !picture.is_file() {
                wrong.add("files that are not there, by line", || format!("{line} `{}`", picture.display()));
            }
            parts[part].entry(label.to_owned()).or_default().push(picture);
        }
        self.found(&shown, parts, columns.split.is_some(), wrong)
    }

    fn columns(&self, shown: &str, head: &StringRecord) -> Result<Columns> {
        let names: Vec<&str> = head.iter().map(|name| name.trim().trim_start_matches('\u{feff}')).collect();
        let mut problems = Vec::new();
        let mut find = |key: &str, given: &Option<String>, usual: &[&str]| match given {
            Some(name) => {
                let found = names.iter().position(|column| *column == name.as_str());
                if found.is_none() {
                    problems.push(format!("`data.{key}`: there is no column `{name}`"));
                }
                found
            }
            None => usual.iter().find_map(|name| names.iter().position(|column| column.eq_ignore_ascii_case(name))),
        };
        let path = find("path_column", &self.path_column, &PATH);
        let label = find("label_column", &self.label_column, &LABEL);
        let split = find("split_column", &self.split_column, &SPLIT);
        for (found, key, given, what) in
            [(path, "path_column", &self.path_column, "paths"), (label, "label_column", &self.label_column, "labels")]
        {
            if found.is_none() && given.is_none() {
                problems.push(format!("`data.{key}`: no column is called as one of {what} usually is"));
            }
        }
        match (path, label) {
            (Some(path), Some(label)) if problems.is_empty() => Ok(Columns { path, label, split }),
            _ => {
                let shortened: Vec<String> =
                    names.iter().take(12).map(|name| name.chars().take(40).collect()).collect();
                Err(Error::usage(format!("`{shown}`: {}", problems.join("\n")))
                    .tip(format!("the columns are {}", shortened.join(", ")))
                    .tip(LAYOUT))
            }
        }
    }

    fn found(
        &self,
        shown: &str,
        parts: [BTreeMap<String, Vec<PathBuf>>; 3],
        has_split: bool,
        wrong: Wrong,
    ) -> Result<Found> {
        let mut problems = wrong.lines();
        let [train, validation, test] = parts;
        let names: Vec<String> = train.keys().cloned().collect();
        if !(2..usize::from(u16::MAX)).contains(&names.len()) {
            problems.push(format!("there must be pictures to train on of 2 classes or more, got {}", names.len()));
        }
        let mut notices = Vec::new();
        for (part, classes) in [("validation", &validation), ("test", &test)] {
            let unknown: Vec<_> = classes.keys().filter(|name| !train.contains_key(*name)).take(LISTED).collect();
            if !unknown.is_empty() {
                problems.push(format!("there are {part} pictures, but none to train on, of {unknown:?}"));
            }
            let missing: Vec<_> = names.iter().filter(|name| !classes.contains_key(*name)).take(LISTED).collect();
            if !classes.is_empty() && !missing.is_empty() {
                notices.push(format!("there is no {part} picture of {missing:?}"));
            }
        }
        if !problems.is_empty() {
            let lines: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
            return Err(Error::usage(format!("`{shown}`:{lines}")).tip(LAYOUT));
        }
        let in_order = |mut classes: BTreeMap<String, Vec<PathBuf>>| {
            names.iter().map(|name| classes.remove(name).unwrap_or_default()).collect::<Vec<_>>()
        };
        let own =
            |classes: BTreeMap<String, Vec<PathBuf>>| (has_split && !classes.is_empty()).then(|| in_order(classes));
        let (validation, test) = (own(validation), own(test));
        Ok(Found { train: in_order(train), validation, test, names: names.clone(), notices })
    }
}
