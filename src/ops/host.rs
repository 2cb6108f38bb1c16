//! Backends whose tensors are arrays in this process' memory: how the kernels get at their values.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Flex, flex, read_sync};
#[cfg(feature = "ndarray")]
use burn::tensor::TensorData;
use burn::tensor::{Bytes, DType, Shape};

/// A backend on host memory.
pub trait Host: Backend {
    /// The same tensor with its values in row-major order, one after the other.
    fn dense(tensor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The values of a [dense](Host::dense) `f32` tensor.
    fn values(tensor: &FloatTensor<Self>) -> &[f32];

    /// A tensor of these values in row-major order.
    fn tensor(values: Vec<f32>, shape: &[usize]) -> FloatTensor<Self>;

    /// The values, without a copy if nobody else holds the tensor.
    fn into_values(tensor: FloatTensor<Self>) -> Vec<f32> {
        Self::values(&Self::dense(tensor)).to_vec()
    }

    /// The values of an integer tensor; negative ones become larger than any index.
    fn indices(tensor: IntTensor<Self>) -> Vec<usize> {
        let data = read_sync(Self::int_into_data(tensor)).expect("host memory can be read");
        data.iter::<i64>().map(|value| usize::try_from(value).unwrap_or(usize::MAX)).collect()
    }
}

impl Host for Flex {
    fn dense(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
    }

    fn values(tensor: &FloatTensor<Self>) -> &[f32] {
        tensor.as_slice().expect("a dense f32 tensor")
    }

    fn tensor(values: Vec<f32>, shape: &[usize]) -> FloatTensor<Self> {
        let layout = flex::Layout::contiguous(Shape::from(shape.to_vec()));
        flex::FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
    }

    fn into_values(tensor: FloatTensor<Self>) -> Vec<f32> {
        tensor.into_data().try_into_vec().expect("an f32 tensor")
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated, reason = "kiln offers the backend as long as Burn does")]
impl Host for burn::backend::NdArray {
    fn dense(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        match &tensor {
            burn::backend::ndarray::NdArrayTensor::F32(storage) if storage.view().is_standard_layout() => tensor,
            _ => Self::tensor(data::<Self>(tensor.clone()), &burn::backend::TensorMetadata::shape(&tensor)),
        }
    }

    fn values(tensor: &FloatTensor<Self>) -> &[f32] {
        match tensor {
            burn::backend::ndarray::NdArrayTensor::F32(storage) => storage.view().to_slice(),
            _ => None,
        }
        .expect("a dense f32 tensor")
    }

    fn tensor(values: Vec<f32>, shape: &[usize]) -> FloatTensor<Self> {
        burn::backend::ndarray::NdArrayTensor::from_data(TensorData::new(values, shape.to_vec()))
    }

    fn into_values(tensor: FloatTensor<Self>) -> Vec<f32> {
        match &tensor {
            // Burn would copy a shared array value by value, through an iterator over any number of dimensions.
            burn::backend::ndarray::NdArrayTensor::F32(storage) if !storage.is_unique() => {
                Self::values(&Self::dense(tensor)).to_vec()
            }
            _ => data::<Self>(tensor),
        }
    }
}

#[cfg(feature = "ndarray")]
fn data<B: Backend>(tensor: FloatTensor<B>) -> Vec<f32> {
    let data = read_sync(B::float_into_data(tensor)).expect("host memory can be read");
    data.try_into_vec().expect("an f32 tensor")
}
