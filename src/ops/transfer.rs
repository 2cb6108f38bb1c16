//! Values on their way to a device and back: the one way for training's tensors, so that they can be counted.

use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData, Transaction};

use super::launches;
use crate::{Error, Result};

/// A tensor of these numbers on `device`.
pub(crate) fn floats<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    launches::note_upload(values.len() * size_of::<f32>(), device);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The same with whole numbers.
pub(crate) fn ints<const D: usize>(values: Vec<i32>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    launches::note_upload(values.len() * size_of::<i32>(), device);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The values of some tensors, in one read that waits for all that the device has to do before.
///
/// # Errors
/// When the device fails.
pub(crate) fn read<const D: usize>(tensors: impl IntoIterator<Item = Tensor<D>>) -> Result<Vec<Vec<f32>>> {
    let started = Instant::now();
    let transaction = tensors.into_iter().fold(Transaction::default(), Transaction::register);
    let failed = |error: String| Error::failed("values cannot be read from the device").caused_by(error);
    let data = transaction.try_execute().map_err(|error| failed(format!("{error:?}")))?;
    let values = data.into_iter().map(|data| data.try_into_vec().map_err(|error| failed(format!("{error:?}"))));
    let values = values.collect();
    launches::note_read(started.elapsed());
    values
}
