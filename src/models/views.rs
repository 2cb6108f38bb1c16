//! What the networks of an [`Ensemble`](super::Ensemble) are shown of an image: views of it, on tensors and on values in memory.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::data::View;
use crate::data::preprocess::Preprocess;

/// The network inputs of the pixels that lie outside of the image, one per channel.
fn outside(view: &View, preprocess: &Preprocess) -> Vec<f32> {
    let mut values = vec![0.0; view.outside.len()];
    preprocess.apply(&view.outside, &mut values);
    values
}

/// A view of network inputs, on tensors.
#[derive(Debug)]
pub(super) struct TensorView {
    rows: Tensor<1, Int>,
    columns: Tensor<1, Int>,
    /// 1 where the image is seen and 0 elsewhere, and what is seen there.
    beyond: Option<[Tensor<4>; 2]>,
}

impl TensorView {
    /// The view of inputs made by `preprocess`; none where it shows the image itself.
    pub(super) fn new(view: &View, preprocess: &Preprocess, device: &Device) -> Option<Self> {
        let places = |seen: &[Option<usize>]| {
            let places = seen.iter().map(|place| place.unwrap_or(0) as i32).collect::<Vec<_>>();
            Tensor::from_data(TensorData::new(places, [seen.len()]), device)
        };
        let beyond = || {
            let (height, width) = (view.rows.len(), view.columns.len());
            let inside = |(row, column): (&Option<usize>, &Option<usize>)| {
                f32::from(u8::from(row.is_some() && column.is_some()))
            };
            let pairs = view.rows.iter().flat_map(|row| view.columns.iter().map(move |column| (row, column)));
            let inside: Vec<f32> = pairs.map(inside).collect();
            let colours = outside(view, preprocess);
            let colours: Vec<f32> =
                colours.iter().flat_map(|colour| inside.iter().map(move |inside| colour * (1.0 - inside))).collect();
            [inside, colours].map(|values| {
                let shape = [1, values.len() / (height * width), height, width];
                Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
            })
        };
        (!view.is_of_itself()).then(|| Self {
            rows: places(&view.rows),
            columns: places(&view.columns),
            beyond: view.shows_outside().then(beyond),
        })
    }

    /// What is seen of `images`, both `[batch, channels, height, width]`.
    pub(super) fn of(&self, images: &Tensor<4>) -> Tensor<4> {
        let seen = images.clone().select(2, self.rows.clone()).select(3, self.columns.clone());
        match &self.beyond {
            None => seen,
            Some([inside, colours]) => seen * inside.clone() + colours.clone(),
        }
    }
}

/// The same on values in memory.
#[derive(Debug)]
pub(super) struct ValueView {
    view: View,
    outside: Vec<f32>,
}

impl ValueView {
    /// As [`TensorView::new`].
    pub(super) fn new(view: &View, preprocess: &Preprocess) -> Option<Self> {
        (!view.is_of_itself()).then(|| Self { view: view.clone(), outside: outside(view, preprocess) })
    }

    /// Puts what is seen of each image in its place.
    pub(super) fn replace(&self, images: &mut [f32]) {
        let size = self.outside.len() * self.view.rows.len() * self.view.columns.len();
        let mut copy = vec![0.0; size];
        for image in images.chunks_exact_mut(size) {
            copy.copy_from_slice(image);
            self.view.show(&copy, &self.outside, image);
        }
    }
}
