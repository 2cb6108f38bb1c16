//! PNG pictures as nearly all programs write them, decoded faster than the `image` crate does: 8 bits per channel, not
//! interlaced, without a palette, an animation or anything else that changes pixels. What is not of this kind, and what is
//! damaged in any way, is left to the `image` crate, so that there is one place that says what is wrong with a picture.
//!
//! A drawing is mostly flat, and a flat place is known from its filtered bytes, which are zeros: [`paeth`] passes over it
//! at the speed of a copy.

use fdeflate::Decompressor;
use image::{ColorType, DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Larger pictures gain little, and need memory for all of their filtered bytes at once.
const MOST_PIXELS: usize = 1 << 20;

/// Chunks that say something about a picture, and nothing that changes its pixels.
const HARMLESS: [&[u8; 4]; 7] = [b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"sBIT", b"bKGD", b"tIME"];

/// A chunk of a file.
struct Chunk<'a> {
    kind: &'a [u8; 4],
    data: &'a [u8],
    /// Kind and data, of which `checksum` is the CRC.
    checked: &'a [u8],
    checksum: u32,
}

/// The head of a picture of the plain kind, and where the rest of it is.
pub struct Plain<'a> {
    width: usize,
    height: usize,
    colour: ColorType,
    chunks: Vec<Chunk<'a>>,
}

impl<'a> Plain<'a> {
    /// Reads how a file is made up; none when it is of another kind, or not what its head says.
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(SIGNATURE)?;
        let mut chunks = Vec::with_capacity(3);
        loop {
            let chunk = next_chunk(&mut rest)?;
            let is_last = chunk.kind == b"IEND";
            let is_first = chunks.is_empty();
            if (chunk.kind == b"IHDR") != is_first || (is_last && !chunk.data.is_empty()) {
                return None;
            }
            chunks.push(chunk);
            if is_last {
                break;
            }
        }
        let &[w0, w1, w2, w3, h0, h1, h2, h3, 8, colour, 0, 0, 0] = chunks[0].data else { return None };
        let colour = match colour {
            0 => ColorType::L8,
            2 => ColorType::Rgb8,
            4 => ColorType::La8,
            6 => ColorType::Rgba8,
            _ => return None,
        };
        let side = |bytes| usize::try_from(u32::from_be_bytes(bytes)).ok().filter(|side| *side > 0);
        let (width, height) = (side([w0, w1, w2, w3])?, side([h0, h1, h2, h3])?);
        width.checked_mul(height).filter(|pixels| *pixels <= MOST_PIXELS)?;
        // The image data stand together.
        let is_data = |chunk: &Chunk| chunk.kind == b"IDAT";
        let (first, last) = (chunks.iter().position(is_data)?, chunks.iter().rposition(is_data)?);
        let known = |chunk: &Chunk| is_data(chunk) || HARMLESS.contains(&chunk.kind);
        let middle = &chunks[1..chunks.len() - 1];
        (chunks[first..=last].iter().all(is_data) && middle.iter().all(known)).then_some(Self {
            width,
            height,
            colour,
            chunks,
        })
    }

    /// How the picture's pixels are kept.
    pub fn colour(&self) -> ColorType {
        self.colour
    }

    /// How many pixels it has.
    pub fn pixels(&self) -> usize {
        self.width * self.height
    }

    fn channels(&self) -> usize {
        usize::from(self.colour.channel_count())
    }

    /// The bytes before their filters are undone, which must be in memory beside the picture: of each row its filter, and
    /// its pixels.
    pub fn filtered_bytes(&self) -> usize {
        self.height * (1 + self.width * self.channels())
    }

    /// The picture; none when it is damaged.
    pub fn decode(&self) -> Option<DynamicImage> {
        let filtered = self.filtered()?;
        self.in_colour(&filtered)
    }

    /// The picture, in grey when it is opaque and shows no colour however it is kept; none when it is damaged.
    pub fn decode_plain(&self) -> Option<DynamicImage> {
        let filtered = self.filtered()?;
        // Filters work on every channel alike: where these are the same, so are the filtered bytes.
        let pixels = match self.channels() {
            3 => pulp::Arch::new().dispatch(Grey::<3> { filtered: &filtered, width: self.width }),
            4 => pulp::Arch::new().dispatch(Grey::<4> { filtered: &filtered, width: self.width }),
            _ => None,
        };
        match pixels {
            Some(pixels) => self.grey(pixels),
            None => self.in_colour(&filtered),
        }
    }

    /// The filtered bytes, once all checksums are right.
    fn filtered(&self) -> Option<Vec<u8>> {
        let intact = |chunk: &Chunk| crc32fast::hash(chunk.checked) == chunk.checksum;
        self.chunks.iter().all(intact).then(|| self.inflate())?
    }

    fn in_colour(&self, filtered: &[u8]) -> Option<DynamicImage> {
        let (width, height) = self.sides()?;
        match self.colour {
            ColorType::L8 => self.grey(unfilter::<1>(filtered, self.width)?),
            ColorType::La8 => {
                GrayAlphaImage::from_raw(width, height, unfilter::<2>(filtered, self.width)?).map(DynamicImage::from)
            }
            ColorType::Rgb8 => {
                RgbImage::from_raw(width, height, unfilter::<3>(filtered, self.width)?).map(DynamicImage::from)
            }
            _ => RgbaImage::from_raw(width, height, unfilter::<4>(filtered, self.width)?).map(DynamicImage::from),
        }
    }

    fn grey(&self, pixels: Vec<u8>) -> Option<DynamicImage> {
        let (width, height) = self.sides()?;
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
    }

    fn sides(&self) -> Option<(u32, u32)> {
        Some((u32::try_from(self.width).ok()?, u32::try_from(self.height).ok()?))
    }

    fn inflate(&self) -> Option<Vec<u8>> {
        // A byte more than there may be, so that the end of the data is read too.
        let mut bytes = vec![0; self.filtered_bytes() + 1];
        let mut filled = 0;
        let mut decompressor = Decompressor::new();
        // Every chunk has a checksum of its own.
        decompressor.ignore_adler32();
        for chunk in self.chunks.iter().filter(|chunk| chunk.kind == b"IDAT") {
            let mut data = chunk.data;
            while !data.is_empty() && !decompressor.is_done() {
                let (read, written) = decompressor.read(data, &mut bytes, filled, false).ok()?;
                filled += written;
                data = &data[read..];
                if read == 0 && written == 0 {
                    return None;
                }
            }
        }
        let is_whole = decompressor.is_done() && filled == self.filtered_bytes();
        bytes.truncate(filled);
        is_whole.then_some(bytes)
    }
}

/// Takes a chunk off the beginning of `rest`.
fn next_chunk<'a>(rest: &mut &'a [u8]) -> Option<Chunk<'a>> {
    let (length, after) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (checked, after) = after.split_at_checked(length.checked_add(4)?)?;
    let (checksum, after) = after.split_first_chunk()?;
    let (kind, data) = checked.split_first_chunk()?;
    *rest = after;
    Some(Chunk { kind, data, checked, checksum: u32::from_be_bytes(*checksum) })
}

/// The one plane of a picture of `N` channels that is opaque and shows no colour; none of others. Compiled for each
/// instruction set, some of which can take every third byte at once.
struct Grey<'a, const N: usize> {
    filtered: &'a [u8],
    width: usize,
}

impl<const N: usize> pulp::NullaryFnOnce for Grey<'_, N> {
    type Output = Option<Vec<u8>>;

    #[inline(always)]
    fn call(self) -> Option<Vec<u8>> {
        let lines = || self.filtered.chunks_exact(1 + self.width * N);
        for line in lines() {
            let mut differ = 0;
            for pixel in line[1..].as_chunks::<N>().0 {
                differ |= (pixel[0] ^ pixel[1]) | (pixel[1] ^ pixel[2]);
            }
            if differ != 0 {
                return None;
            }
        }
        let channel = |channel: usize| {
            let mut plane = vec![0; lines().len() * (1 + self.width)];
            for (line, filtered) in lines().zip(plane.chunks_exact_mut(1 + self.width)) {
                filtered[0] = line[0];
                for (to, pixel) in filtered[1..].iter_mut().zip(line[1..].as_chunks::<N>().0) {
                    *to = pixel[channel];
                }
            }
            unfilter::<1>(&plane, self.width)
        };
        if N == 4 && channel(3)?.iter().any(|alpha| *alpha != u8::MAX) {
            return None;
        }
        channel(0)
    }
}

/// Undoes the filters of all rows of `width` pixels of `N` bytes; none when there is a filter that there is not.
fn unfilter<const N: usize>(filtered: &[u8], width: usize) -> Option<Vec<u8>> {
    let length = width * N;
    let (lines, nothing) = (filtered.chunks_exact(1 + length), vec![[0; N]; width]);
    let mut pixels = vec![[0; N]; lines.len() * width];
    let (mut above, mut rest) = (nothing.as_slice(), pixels.as_mut_slice());
    for line in lines {
        let (row, next) = std::mem::take(&mut rest).split_at_mut(width);
        let (filter, line) = line.split_first()?;
        let line = line.as_chunks().0;
        match filter {
            0 => row.copy_from_slice(line),
            1 => sub(line, row),
            2 => up(line.as_flattened(), above.as_flattened(), row.as_flattened_mut()),
            3 => average(line, above, row),
            4 => paeth(line, above, row),
            _ => return None,
        }
        (above, rest) = (row, next);
    }
    Some(pixels.into_flattened())
}

/// Each pixel was filtered by the one on its left.
fn sub<const N: usize>(line: &[[u8; N]], row: &mut [[u8; N]]) {
    let mut left = [0; N];
    for (pixel, byte) in row.iter_mut().zip(line) {
        left = std::array::from_fn(|at| byte[at].wrapping_add(left[at]));
        *pixel = left;
    }
}

/// Each by the one above.
fn up(line: &[u8], above: &[u8], row: &mut [u8]) {
    for ((pixel, byte), above) in row.iter_mut().zip(line).zip(above) {
        *pixel = byte.wrapping_add(*above);
    }
}

/// Each by the mean of both.
fn average<const N: usize>(line: &[[u8; N]], above: &[[u8; N]], row: &mut [[u8; N]]) {
    let mut left = [0; N];
    for ((pixel, byte), above) in row.iter_mut().zip(line).zip(above) {
        left =
            std::array::from_fn(|at| byte[at].wrapping_add(((u16::from(left[at]) + u16::from(above[at])) / 2) as u8));
        *pixel = left;
    }
}

/// Pixels that are looked at together.
const TOGETHER: usize = 16;

/// Each by that of left, above and above left which is nearest to left + above - above left.
///
/// Where left and above left are the same, that is the one above. So zeros behind two such pixels are copies of what is
/// above them, as long as there are zeros; in a flat place all are.
fn paeth<const N: usize>(line: &[[u8; N]], above: &[[u8; N]], row: &mut [[u8; N]]) {
    let (mut left, mut above_left) = ([0; N], [0; N]);
    let (above, row) = (&above[..line.len()], &mut row[..line.len()]);
    let mut x = 0;
    while x < line.len() {
        if left == above_left {
            let zeros = zeros(&line[x..]);
            if zeros > 0 {
                row[x..x + zeros].copy_from_slice(&above[x..x + zeros]);
                x += zeros;
                (left, above_left) = (row[x - 1], above[x - 1]);
                continue;
            }
        }
        // No stretch of zeros begins as long as the two differ.
        while x < line.len() {
            let here = std::array::from_fn(|at| {
                line[x][at].wrapping_add(nearest(left[at].into(), above[x][at].into(), above_left[at].into()))
            });
            row[x] = here;
            (left, above_left) = (here, above[x]);
            x += 1;
            if left == above_left {
                break;
            }
        }
    }
}

/// How many pixels of zeros `line` begins with.
fn zeros<const N: usize>(line: &[[u8; N]]) -> usize {
    let (chunks, _) = line.as_chunks::<TOGETHER>();
    let passed = TOGETHER * chunks.iter().take_while(|chunk| **chunk == [[0; N]; TOGETHER]).count();
    passed + line[passed..].iter().take_while(|pixel| **pixel == [0; N]).count()
}

/// Paeth's predictor: which of `a` (left), `b` (above) and `c` (above left) is nearest to a + b - c, in this order where
/// two are. Without a branch: with c beyond both, the one farther from c; with c between them, c.
#[inline(always)]
fn nearest(a: i16, b: i16, c: i16) -> u8 {
    let (low, high, turn) = (a.min(b), a.max(b), 3 * c - (a + b));
    let beyond = if high <= turn { low } else { c };
    (if turn <= low { high } else { beyond }) as u8
}

#[cfg(test)]
mod tests;
