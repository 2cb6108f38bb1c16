//! Floats as bytes, as files and connections have them: little-endian, in order.

/// Puts `values` behind `bytes`.
pub fn append(values: &[f32], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + 4 * values.len(), 0);
    for (place, value) in bytes[start..].as_chunks_mut().0.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
}

/// The floats that `bytes` hold; up to three bytes at the end that are none are left out.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_come_back_bit_by_bit() {
        let values = [1.5, -0.0, f32::INFINITY, f32::MIN_POSITIVE, f32::from_bits(0x7fc0_1234)];
        let mut bytes = vec![7];
        append(&values, &mut bytes);
        assert_eq!(bytes[..5], [7, 0, 0, 0xc0, 0x3f]);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&floats(&bytes[1..])), bits(&values));
        assert_eq!(floats(&bytes[1..8]).len(), 1);
    }
}
