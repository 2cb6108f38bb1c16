//! The patches of one image that a convolution looks at, as the columns of a matrix (im2col), and back (col2im).

use super::geometry::ConvGeometry;

/// Writes the patch matrix of `image` `[channels, height, width]` to `columns`: row `(c * k + ky) * k + kx`, column
/// `oy * output width + ox` holds `image[c, oy * stride + ky - padding, ox * stride + kx - padding]`, 0 outside.
#[inline(always)]
pub(super) fn im2col(geometry: &ConvGeometry, image: &[f32], columns: &mut [f32]) {
    let [_, width] = geometry.conv_output();
    let mut rows = columns.chunks_exact_mut(width);
    visit(geometry, |source, span| {
        let Some(row) = rows.next() else { return };
        match source {
            None => row.fill(0.0),
            Some(start) => {
                row[..span.start].fill(0.0);
                row[span.end..].fill(0.0);
                let row = &mut row[span];
                if geometry.stride == 1 {
                    copy(row, &image[start..start + row.len()]);
                } else {
                    for (value, source) in row.iter_mut().zip(image[start..].iter().step_by(geometry.stride)) {
                        *value = *source;
                    }
                }
            }
        }
    });
}

/// The transpose of [`im2col`]: adds every value of `columns` to the place in `image` that it was read from.
#[inline(always)]
pub(super) fn col2im(geometry: &ConvGeometry, columns: &[f32], image: &mut [f32]) {
    let [_, width] = geometry.conv_output();
    let mut rows = columns.chunks_exact(width);
    visit(geometry, |source, span| {
        let (Some(row), Some(start)) = (rows.next(), source) else { return };
        let row = &row[span];
        if geometry.stride == 1 {
            for (sum, value) in image[start..start + row.len()].iter_mut().zip(row) {
                *sum += value;
            }
        } else {
            for (sum, value) in image[start..].iter_mut().step_by(geometry.stride).zip(row) {
                *sum += value;
            }
        }
    });
}

/// Calls `row(source, span)` for each row of output positions of each row of the patch matrix: the columns in `span`
/// come from the image, from index `source` on; no source: none do.
#[inline(always)]
fn visit(geometry: &ConvGeometry, mut row: impl FnMut(Option<usize>, std::ops::Range<usize>)) {
    let ConvGeometry { channels_in, height, width, kernel, stride, padding, .. } = *geometry;
    let [output_height, output_width] = geometry.conv_output();
    for channel in 0..channels_in {
        for ky in 0..kernel {
            for kx in 0..kernel {
                // ox * stride + kx - padding in 0..width
                let first = padding.saturating_sub(kx).div_ceil(stride).min(output_width);
                let end = (width + padding).saturating_sub(kx).div_ceil(stride).clamp(first, output_width);
                for oy in 0..output_height {
                    let y = (oy * stride + ky).wrapping_sub(padding);
                    let source = (y < height && first < end)
                        .then(|| (channel * height + y) * width + first * stride + kx - padding);
                    row(source, first..end);
                }
            }
        }
    }
}

/// Copies a short row without the cost of a call.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
