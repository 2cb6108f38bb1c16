//! A path in a config that says where images are.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::check::Problems;

/// Where a source's files are. The type marks the key as a path: loading a config makes it absolute, from the folder of
/// the config file that it is written in, or with `--set` from the working folder. So a run finds its data from
/// everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataPath(PathBuf);

impl<T: Into<PathBuf>> From<T> for DataPath {
    fn from(path: T) -> Self {
        Self(path.into())
    }
}

impl DataPath {
    /// The path from the root. One that is still relative, which the configs of runs and model files of earlier versions
    /// hold, is taken from the working folder.
    pub fn absolute(&self) -> PathBuf {
        std::path::absolute(&self.0).unwrap_or_else(|_| self.0.clone())
    }

    /// Adds what is wrong with the path as the value of `key`.
    pub(crate) fn check(&self, key: &str, problems: &mut Problems) {
        problems.require(!self.0.as_os_str().is_empty(), key, || "must name a folder, got an empty path".into());
    }

    /// The error when `folder`, which is this path or lies in it, cannot be read; `layout` says what must be there.
    pub(crate) fn unreadable(&self, folder: &Path, error: io::Error, layout: &str) -> Error {
        let missing = !self.absolute().exists();
        let found = Error::usage(format!("`data.path`: cannot read the folder `{}`", folder.display()))
            .caused_by(error)
            .tip(layout);
        match (missing, self.0.is_relative()) {
            (false, _) => found,
            (true, false) => found.tip(
                "a relative `data.path` starts at the folder of the config file that it is written in; with --set, at the \
                 working folder",
            ),
            (true, true) => found.tip(format!(
                "`{}` starts at the working folder: run the command where the run was started",
                self.0.display()
            )),
        }
    }
}

impl JsonSchema for DataPath {
    fn schema_name() -> Cow<'static, str> {
        "DataPath".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "path" })
    }
}
