//! Image sets from folders of pictures.

use super::{FolderConfig, Parts};
use crate::Result;

pub(super) fn open(_config: &FolderConfig) -> Result<Parts> {
    Err(crate::Error::usage("folders of pictures cannot be read yet"))
}
