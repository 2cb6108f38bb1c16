//! The pictures that a command line names: files, folders with all that is in them, patterns, stdin.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::quoted;
use crate::data::picture::{self, is_picture};
use crate::run::file;
use crate::{Error, Result};

/// Files that are named when they are left out; of more, only the number.
const NAMED: usize = 3;

/// Where a picture comes from.
pub enum Source {
    File(PathBuf),
    Stdin(Vec<u8>),
}

/// The pictures, and the files beside them that are none.
#[derive(Default)]
pub struct Sources {
    /// In the order of the arguments; the files of a folder by name.
    pub pictures: Vec<Source>,
    /// What lay among them.
    left_out: Vec<PathBuf>,
}

impl Source {
    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin(_) => "-".to_owned(),
        }
    }

    /// Its pixels.
    pub fn decode(&self) -> Result<picture::Decoded> {
        match self {
            Self::File(path) => picture::decode(&file::read_bounded(path, picture::MAX_BYTES - 1)?),
            Self::Stdin(bytes) => picture::decode(bytes),
        }
    }
}

impl Sources {
    /// What the arguments name. A file that is named itself is one of them whatever it is called; of a folder and of a
    /// pattern, those that are called like pictures.
    ///
    /// # Errors
    /// When an argument names nothing, or a model in the place of a picture.
    pub fn named(arguments: &[String]) -> Result<Self> {
        let mut found = Self::default();
        for argument in arguments {
            let path = Path::new(argument);
            if argument == "-" {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .take(picture::MAX_BYTES)
                    .read_to_end(&mut bytes)
                    .map_err(|error| Error::usage("cannot read a picture from stdin").caused_by(error))?;
                found.pictures.push(Source::Stdin(bytes));
            } else if path.is_dir() {
                found.folder(path)?;
            } else if path.exists() || !argument.contains(['*', '?', '[']) {
                found.pictures.push(Source::File(path.to_owned()));
            } else {
                found.pattern(argument)?;
            }
        }
        Ok(found)
    }

    /// A sentence about the files that were left out, if some were.
    pub fn notice(&self) -> Option<String> {
        let names =
            self.left_out.iter().take(NAMED).map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        match self.left_out.len() {
            0 => None,
            1 => Some(format!("a file that is not called like a picture is left out: {names}")),
            count if count <= NAMED => {
                Some(format!("{count} files that are not called like pictures are left out: {names}"))
            }
            count => Some(format!("{count} files that are not called like pictures are left out: {names}, ...")),
        }
    }

    /// Every picture in a folder and in the folders in it.
    fn folder(&mut self, folder: &Path) -> Result<()> {
        let before = self.pictures.len();
        let mut left_out = Vec::new();
        walk(folder, &mut |path| match is_picture(&path) {
            true => self.pictures.push(Source::File(path)),
            false => left_out.push(path),
        })?;
        self.left_out.append(&mut left_out);
        if self.pictures.len() > before {
            return Ok(());
        }
        let error = Error::usage(format!("the folder `{}` holds no picture", folder.display()));
        Err(if folder.join("run.json").is_file() {
            error.tip("it is a run: the model comes first, then pictures: kiln predict MODEL PICTURE")
        } else {
            error.tip(format!("pictures end in {}", picture::ENDINGS.map(|ending| format!(".{ending}")).join(", ")))
        })
    }

    fn pattern(&mut self, pattern: &str) -> Result<()> {
        let matches = glob::glob(pattern)
            .map_err(|error| Error::usage(format!("the pattern `{pattern}` is not valid")).caused_by(error))?;
        let files: Vec<PathBuf> = matches.flatten().filter(|path| path.is_file()).collect();
        let (pictures, others): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|path| is_picture(path));
        if pictures.is_empty() {
            let what = if others.is_empty() { "file" } else { "picture" };
            return Err(Error::usage(format!("the pattern `{pattern}` matches no {what}")));
        }
        self.pictures.extend(pictures.into_iter().map(Source::File));
        self.left_out.extend(others);
        Ok(())
    }
}

/// Tells `file` of each file in the folder and in those in it, by name; not of hidden ones, nor through links to folders,
/// which may lead back.
fn walk(folder: &Path, file: &mut impl FnMut(PathBuf)) -> Result<()> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Error::usage(format!("cannot list `{}`", folder.display())).caused_by(error))?;
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| !hidden(path)).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if !path.is_symlink() {
                walk(&path, file)?;
            }
        } else if path.is_file() {
            file(path);
        }
    }
    Ok(())
}

/// Refuses a picture in the place of the model, which is how the two are confused: with the command that was meant.
///
/// # Errors
/// When `model` is called like a picture.
pub fn refuse_swapped(model: &Path, pictures: &[String]) -> Result<()> {
    if !is_picture(model) {
        return Ok(());
    }
    let is_model = |word: &&String| {
        let path = Path::new(word);
        path.join("run.json").is_file()
            || ["bpk", "safetensors", "onnx"].iter().any(|&it| path.extension().is_some_and(|e| e == it))
    };
    let error = Error::usage(format!("`{}` is a picture, and the model comes first", model.display()));
    Err(match pictures.iter().find(is_model) {
        Some(found) => {
            let others = pictures.iter().filter(|word| *word != found).map(quoted);
            let pictures: Vec<String> = [quoted(model)].into_iter().chain(others).collect();
            error.tip(format!("the other way round: kiln predict {} {}", quoted(found), pictures.join(" ")))
        }
        None => error.tip("name the model: kiln predict MODEL PICTURE"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_to_their_depth_and_what_is_no_picture_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["b/c/2.PNG", "b/1.jpg", "a.gif", "README.md", "b/notes.txt", ".hidden/3.png"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let found = Sources::named(&[folder.path().display().to_string()]).unwrap();
        let names: Vec<String> = found.pictures.iter().map(Source::name).collect();
        let expected = ["a.gif", "b/1.jpg", "b/c/2.PNG"].map(|name| folder.path().join(name).display().to_string());
        assert_eq!(names, expected);
        let notice = found.notice().unwrap();
        assert!(
            notice.starts_with("2 files") && notice.contains("README.md") && notice.contains("notes.txt"),
            "{notice}"
        );
        let matched = Sources::named(&[folder.path().join("*").display().to_string()]).unwrap();
        assert_eq!(matched.pictures.len(), 1);
        assert!(matched.notice().unwrap().contains("README.md"));
        // A file that is named itself is tried.
        let named = Sources::named(&[folder.path().join("README.md").display().to_string()]).unwrap();
        assert_eq!((named.pictures.len(), named.notice()), (1, None));
    }

    #[test]
    fn nothing_to_look_at_says_what_was_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("README.md"), b"").unwrap();
        let refused = |word: String| Sources::named(&[word]).err().unwrap().render();
        assert!(refused(folder.path().display().to_string()).contains("holds no picture\ntip: pictures end in .png"));
        assert!(refused(folder.path().join("*.md").display().to_string()).contains("matches no picture"));
        assert!(refused(folder.path().join("*.png").display().to_string()).contains("matches no file"));
        std::fs::write(folder.path().join("run.json"), b"").unwrap();
        assert!(refused(folder.path().display().to_string()).contains("the model comes first"));
    }

    #[test]
    fn a_picture_in_the_place_of_the_model_is_told_the_other_way_round() {
        let error = refuse_swapped(Path::new("my digit.png"), &["a.jpg".into(), "model.bpk".into()]).unwrap_err();
        assert!(error.render().ends_with("kiln predict model.bpk 'my digit.png' a.jpg"), "{}", error.render());
        assert!(refuse_swapped(Path::new("runs/mnist-0001"), &["a.png".into()]).is_ok());
    }
}
