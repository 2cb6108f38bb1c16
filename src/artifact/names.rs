//! Between kiln's tensors and PyTorch's, as the safetensors container has them; `docs/artifact.md` has the table too.
//!
//! | kiln | PyTorch | layout |
//! |---|---|---|
//! | `….conv.weight` | `….conv.weight` | `[out, in, height, width]` in both |
//! | `….conv.bias` | `….conv.bias` | `[out]` |
//! | `….norm.gamma`, `….group_norm.gamma` | `….norm.weight`, `….group_norm.weight` | `[channels]` |
//! | `….norm.beta`, `….group_norm.beta` | `….norm.bias`, `….group_norm.bias` | `[channels]` |
//! | `….norm.running_mean` | `….norm.running_mean` | `[channels]` |
//! | `….norm.running_var` | `….norm.running_var` | `[channels]` |
//! | `hidden.N.weight`, `output.weight` | the same | `[in, out]` in kiln, `[out, in]` in PyTorch |
//! | `hidden.N.bias`, `output.bias` | the same | `[out]` |

use crate::models::{WeightTensor, Weights};

/// All tensors under PyTorch's names, in its layout.
pub(super) fn to_pytorch(weights: &Weights) -> Weights {
    let convert = |(name, tensor): (&str, &WeightTensor)| {
        let name = match name.rsplit_once('.') {
            Some((module, "gamma")) => format!("{module}.weight"),
            Some((module, "beta")) => format!("{module}.bias"),
            _ => name.to_owned(),
        };
        (name, transposed(tensor))
    };
    weights.iter().map(convert).collect()
}

/// The reverse of [`to_pytorch`].
pub(super) fn from_pytorch(weights: &Weights) -> Weights {
    let of = |module: &str, field: &str| weights.get(&format!("{module}.{field}"));
    // Of all weights, those of norms alone have one dimension.
    let is_norm = |module: &str| {
        of(module, "running_mean").is_some() || of(module, "weight").is_some_and(|weight| weight.shape.len() == 1)
    };
    let convert = |(name, tensor): (&str, &WeightTensor)| {
        let name = match name.rsplit_once('.') {
            Some((module, "weight")) if is_norm(module) => format!("{module}.gamma"),
            Some((module, "bias")) if is_norm(module) => format!("{module}.beta"),
            _ => name.to_owned(),
        };
        (name, transposed(tensor))
    };
    weights.iter().map(convert).collect()
}

/// Matrices, which are the weights of fully connected layers, with their dimensions swapped; the rest as it is.
fn transposed(tensor: &WeightTensor) -> WeightTensor {
    let &[rows, columns] = tensor.shape.as_slice() else { return tensor.clone() };
    // A file may claim a matrix of any width when it has no rows.
    let columns_held = if tensor.values.is_empty() { 0 } else { columns };
    let mut values = Vec::with_capacity(tensor.values.len());
    for column in 0..columns_held {
        values.extend((0..rows).map(|row| tensor.values[row * columns + column]));
    }
    WeightTensor { shape: vec![columns, rows], values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_layout_follow_pytorch_and_come_back() {
        let tensor = |shape: &[usize]| {
            let count = shape.iter().product::<usize>();
            WeightTensor { shape: shape.to_vec(), values: (0..count).map(|value| value as f32).collect() }
        };
        let weights = [
            ("blocks.0.conv.weight", tensor(&[2, 1, 3, 3])),
            ("blocks.0.norm.gamma", tensor(&[2])),
            ("blocks.0.norm.beta", tensor(&[2])),
            ("blocks.0.norm.running_mean", tensor(&[2])),
            ("blocks.0.norm.running_var", tensor(&[2])),
            ("blocks.1.group_norm.gamma", tensor(&[2])),
            ("blocks.1.group_norm.beta", tensor(&[2])),
            ("output.weight", tensor(&[3, 2])),
            ("output.bias", tensor(&[2])),
        ];
        let weights = weights.map(|(name, tensor)| (name.to_owned(), tensor)).into_iter().collect::<Weights>();
        let pytorch = to_pytorch(&weights);
        let names = pytorch.iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert!(names.contains(&"blocks.0.norm.weight") && names.contains(&"blocks.0.norm.bias"));
        let matrix = pytorch.get("output.weight");
        assert_eq!(matrix, Some(&WeightTensor { shape: vec![2, 3], values: vec![0.0, 2.0, 4.0, 1.0, 3.0, 5.0] }));
        assert_eq!(from_pytorch(&pytorch), weights);
    }
}
