//! Arithmetic of array sizes that cannot wrap.

/// The most `f32` values that one array can hold: Rust's limit of `isize::MAX` bytes.
const LARGEST: usize = isize::MAX as usize / size_of::<f32>();

/// The product of `factors`, the number of values of an array of this shape.
///
/// # Panics
/// If no array can be that large.
#[track_caller]
pub(super) fn product(factors: &[usize]) -> usize {
    let product = factors.iter().try_fold(1, |product: usize, factor| product.checked_mul(*factor));
    match product {
        Some(product) if product <= LARGEST => product,
        _ => panic!("an array of shape {factors:?} is larger than memory can be"),
    }
}

/// Checks the length of a slice.
///
/// # Panics
/// If it is another one.
#[track_caller]
pub(super) fn assert_length<T>(what: &str, values: &[T], expected: usize) {
    assert!(values.len() == expected, "{what}: must have {expected} values, got {}", values.len());
}
