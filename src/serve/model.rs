//! What the server needs of a model, so that it can be tested with models that are slow, wrong or broken.

use serde_json::Value;

use crate::data::{ImageShape, picture};
use crate::predict::{Prediction, Predictor};
use crate::{Error, Result};

/// What a picture shows, in relation to the training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any picture: brought to the network's size as the model's manifest says.
    Picture,
    /// An image as those of training: exact size, nothing to find or centre.
    Training,
}

/// Something that classifies images. It is shared by threads.
pub trait Model: Send + Sync + 'static {
    /// The size of its input.
    fn shape(&self) -> ImageShape;

    /// Its classes by label.
    fn classes(&self) -> &[String];

    /// What it says about itself.
    ///
    /// # Errors
    /// When that cannot be told as JSON.
    fn manifest(&self) -> Result<Value>;

    /// About how many bytes of memory it takes to [`read`](Self::read) a picture file.
    ///
    /// # Errors
    /// A usage error when the picture cannot be used, as far as its head tells.
    fn memory(&self, picture: &[u8]) -> Result<u64>;

    /// Decodes a picture file into an input, `[channels, height, width]`; the caller has set the memory aside.
    ///
    /// # Errors
    /// A usage error when the picture cannot be used.
    fn read(&self, picture: &[u8], form: Form) -> Result<Vec<u8>>;

    /// The answers for inputs, in order. It is called by one thread at a time.
    ///
    /// # Errors
    /// When the device fails.
    fn predict(&self, inputs: &[&[u8]]) -> Result<Vec<Prediction>>;
}

impl Model for Predictor {
    fn shape(&self) -> ImageShape {
        self.manifest().preprocess.shape
    }

    fn classes(&self) -> &[String] {
        &self.manifest().classes
    }

    fn manifest(&self) -> Result<Value> {
        serde_json::to_value(Self::manifest(self))
            .map_err(|error| Error::failed("the manifest cannot be written as JSON").caused_by(error))
    }

    fn memory(&self, bytes: &[u8]) -> Result<u64> {
        picture::memory(bytes)
    }

    fn read(&self, bytes: &[u8], form: Form) -> Result<Vec<u8>> {
        let image = picture::decode_reserved(bytes)?;
        let preprocess = &Self::manifest(self).preprocess;
        match form {
            Form::Picture => picture::fit(&image, preprocess),
            Form::Training => picture::raw(&image, preprocess),
        }
    }

    fn predict(&self, inputs: &[&[u8]]) -> Result<Vec<Prediction>> {
        self.predict_prepared(inputs)
    }
}
