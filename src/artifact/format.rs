//! What a format is: how one kind of file stores a model. The list of formats is in [`super`]; from a line there the
//! macro below makes the module, the enum [`Format`](super::Format), the values of `--format` and all texts that name
//! the formats.

use super::{Content, Payload};
use crate::Result;

/// One format: its names, and its files written and read.
pub(super) trait Container: Sync {
    /// What `--format` and messages call it.
    fn name(&self) -> &'static str;

    /// The usual extension of its files, without the dot.
    fn extension(&self) -> &'static str;

    /// One line for `kiln export --help`.
    fn about(&self) -> &'static str;

    /// Whether a file says step by step how an answer is computed, so that another program's answer is the model's; the others
    /// hold weights and the manifest.
    fn holds_graph(&self) -> bool {
        false
    }

    /// Whether a file that begins with `start`, its first 16 bytes, is of this format.
    fn begins(&self, start: &[u8]) -> bool;

    /// The bytes of a file that holds `model`.
    ///
    /// # Errors
    /// When the format cannot hold it.
    fn encode(&self, model: &Payload) -> Result<Vec<u8>>;

    /// What a file holds. It trusts nothing: no byte of a file with a manifest may be without effect. Where the format
    /// itself does not see to that, [`exactly`] does, with the file made anew from what was read.
    ///
    /// # Errors
    /// A usage error when the file is truncated, damaged or holds more than [`encode`](Self::encode) writes.
    fn decode(&self, bytes: &[u8]) -> Result<Content>;
}

/// Declares the formats: one line each, `Variant = module`, in the order in which they are listed to users.
macro_rules! formats {
    ($($variant:ident = $module:ident,)+) => {
        $(mod $module;)+

        /// A kind of model file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Format {
            $(#[doc = concat!("See `src/artifact/", stringify!($module), ".rs`.")] $variant,)+
        }

        impl Format {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn container(self) -> &'static dyn format::Container {
                match self {
                    $(Self::$variant => &$module::Container,)+
                }
            }
        }
    };
}

/// Refuses a file that is not, byte for byte, what its content is written as.
///
/// # Errors
/// A usage error that names the first byte that differs.
pub(super) fn exactly(found: &[u8], expected: &[u8]) -> Result<()> {
    use crate::Error;
    let error = match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        Some(at) => {
            format!("byte {at} must be 0x{:02x} for what the file holds, got 0x{:02x}", expected[at], found[at])
        }
        None if found.len() != expected.len() => {
            format!("the file must have {} bytes for what it holds, got {}", expected.len(), found.len())
        }
        None => return Ok(()),
    };
    Err(Error::usage(error).tip(super::COPY_AGAIN))
}
