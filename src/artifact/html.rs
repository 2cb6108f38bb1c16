//! A page that answers drawings and pictures in any browser, from the disk and without a network: the model is in it, as
//! elements that its script reads and that kiln reads back. What the script does is the business of [`page`].
//!
//! ```html
//! <script type="application/json" id="manifest">the manifest, with `<` as \u003c</script>
//! <script type="application/json" id="network">the tensors' type, names and shapes, the steps that compute each network, the views that it sees</script>
//! <script type="text/plain" id="weights">the tensors' values one after the other, little-endian, in base64</script>
//! ```
//!
//! The last line names the SHA-256 of the manifest, as every format does, and that of all that stands before it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};

use super::{COPY_AGAIN, Content, DIGEST_KEY, Dtype, Manifest, Payload, sha256};
use crate::data::View;
use crate::data::preprocess::Preprocess;
use crate::models::{Composition, Member, Step, WeightTensor, Weights, qualified};
use crate::{Error, Result, page};

/// What the file begins with.
const BEGINNING: &str = "<!doctype html>\n";

/// The elements that hold the model.
const MANIFEST: &str = "<script type=\"application/json\" id=\"manifest\">";
const NETWORK: &str = "<script type=\"application/json\" id=\"network\">";
const WEIGHTS: &str = "<script type=\"text/plain\" id=\"weights\">";
const END: &str = "</script>\n";

/// SHA-256 of the file up to the last line.
const PAGE_KEY: &str = "kiln_page_sha256";

/// The most bytes of weights: four times as many are in a browser's memory for a while.
const MOST_BYTES: usize = 128 << 20;

/// The most bytes of names, shapes and steps, with which a hundred times that may be allocated.
const LARGEST_STRUCTURE: usize = 4 << 20;

pub(super) struct Container;

/// What the page's script computes.
#[derive(Serialize)]
struct Computed<'a> {
    dtype: Dtype,
    tensors: Vec<Stored<&'a str>>,
    /// Of several networks and views, the mean of the probabilities is the answer.
    networks: Vec<Network<'a>>,
    views: Vec<View>,
}

/// One network, and what its inputs are made with.
#[derive(Serialize)]
struct Network<'a> {
    mean: &'a [f32],
    std: &'a [f32],
    steps: Vec<Step>,
}

/// What is read back of it.
#[derive(Deserialize)]
struct Tensors {
    dtype: Dtype,
    tensors: Vec<Stored<String>>,
}

#[derive(Serialize, Deserialize)]
struct Stored<Name> {
    name: Name,
    shape: Vec<usize>,
}

impl super::format::Container for Container {
    fn name(&self) -> &'static str {
        "html"
    }

    fn extension(&self) -> &'static str {
        "html"
    }

    fn about(&self) -> &'static str {
        "A page that answers drawings and pictures in a browser, .html"
    }

    fn holds_graph(&self) -> bool {
        true
    }

    fn begins(&self, start: &[u8]) -> bool {
        start == BEGINNING.as_bytes()
    }

    fn encode(&self, model: &Payload) -> Result<Vec<u8>> {
        let manifest = model.manifest;
        let stored = model.weights.iter().map(|(name, tensor)| Stored { name, shape: tensor.shape.clone() });
        let (networks, views) = (networks(manifest)?, manifest.views());
        let computed = Computed { dtype: manifest.dtype, tensors: stored.collect(), networks, views };
        let network = serde_json::to_string(&computed)
            .map_err(|error| Error::failed("the page cannot be made").caused_by(error))?;
        let bytes =
            model.weights.iter().flat_map(|(_, tensor)| manifest.dtype.bytes(&tensor.values)).collect::<Vec<_>>();
        if bytes.len() > MOST_BYTES {
            return Err(Error::usage(format!(
                "a page may hold at most {MOST_BYTES} bytes of weights, got {}",
                bytes.len()
            ))
            .tip("store them in half the size with `--dtype f16`, or export the model as `onnx`"));
        }
        let (before, after) = page::of_model();
        let (text, weights) = (escape(&model.text), BASE64_STANDARD.encode(bytes));
        let page =
            [&before, MANIFEST, &text, END, NETWORK, &escape(&network), END, WEIGHTS, &weights, END, &after].concat();
        let last = last_line(&model.digest, &sha256(page.as_bytes()));
        Ok((page + &last).into_bytes())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Content> {
        let damaged = || Error::usage("the page is truncated or damaged").tip(COPY_AGAIN);
        let text = std::str::from_utf8(bytes).map_err(|error| damaged().caused_by(error))?;
        let Some((_, model)) = text.split_once(MANIFEST) else {
            return Ok(Content { manifest: None, digest: None, dtype: Dtype::F32, weights: Weights::default() });
        };
        let (page, digest) = digest_of(text).ok_or_else(damaged)?;
        let (manifest, model) = element("", model).ok_or_else(damaged)?;
        let (network, model) = element(NETWORK, model).ok_or_else(damaged)?;
        let (weights, _) = element(WEIGHTS, model).ok_or_else(damaged)?;
        if network.len() > LARGEST_STRUCTURE {
            return Err(Error::usage(format!(
                "the page must describe its tensors in at most {LARGEST_STRUCTURE} bytes, got {}",
                network.len()
            )));
        }
        if last_line(digest, &sha256(page.as_bytes())) != text[page.len()..] {
            let error = "the page is damaged or was changed: it does not have the SHA-256 that it names";
            return Err(Error::usage(error).tip(COPY_AGAIN));
        }
        let manifest = unescape(manifest);
        let tensors = serde_json::from_str::<Tensors>(network).map_err(|error| damaged().caused_by(error))?;
        let bytes = BASE64_STANDARD.decode(weights).map_err(|error| damaged().caused_by(error))?;
        let values = tensors.dtype.values(&bytes).ok_or_else(damaged)?;
        let weights = tensors_of(&tensors.tensors, &values).ok_or_else(damaged)?;
        let (manifest, digest) = (Some(manifest), Some(digest.to_owned()));
        Ok(Content { manifest, digest, dtype: tensors.dtype, weights })
    }
}

/// The networks that answer.
fn networks(manifest: &Manifest) -> Result<Vec<Network<'_>>> {
    let Preprocess { shape, mean, std, .. } = &manifest.preprocess;
    let classes = manifest.classes.len();
    let members = match &manifest.model {
        Composition::Single(model) => return Ok(vec![Network { mean, std, steps: model.steps(*shape, classes)? }]),
        Composition::Ensemble(members) => members,
    };
    let network = |(index, member): (usize, &'_ Member)| -> Result<Vec<Step>> {
        let mut steps = member.model.steps(*shape, classes)?;
        let named = steps.iter_mut().filter(|step| !step.name.is_empty());
        named.for_each(|step| step.name = qualified(index, &step.name));
        Ok(steps)
    };
    let steps = members.iter().enumerate().map(network).collect::<Result<Vec<_>>>()?;
    let networks = members.iter().zip(steps);
    Ok(networks.map(|(Member { mean, std, .. }, steps)| Network { mean, std, steps }).collect())
}

fn last_line(manifest: &str, page: &str) -> String {
    format!("<!-- {DIGEST_KEY} {manifest} {PAGE_KEY} {page} -->\n")
}

/// The file up to the last line, and the digest of the manifest that the last line names.
fn digest_of(text: &str) -> Option<(&str, &str)> {
    let digits = sha256(&[]).len();
    let page = text.get(..text.len().checked_sub(last_line(&"0".repeat(digits), &"0".repeat(digits)).len())?)?;
    let digest =
        text[page.len()..].strip_prefix("<!-- ")?.strip_prefix(DIGEST_KEY)?.strip_prefix(' ')?.get(..digits)?;
    Some((page, digest))
}

/// What is in the element that `text` begins with, and what follows it.
fn element<'a>(start: &str, text: &'a str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(start)?.split_once(END)
}

/// All tensors, of which `values` must be the values.
fn tensors_of(stored: &[Stored<String>], mut values: &[f32]) -> Option<Weights> {
    let mut weights = Weights::default();
    for Stored { name, shape } in stored {
        let count = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side))?;
        let (own, rest) = values.split_at_checked(count)?;
        values = rest;
        weights.insert(name, WeightTensor { shape: shape.clone(), values: own.to_vec() });
    }
    (values.is_empty() && weights.len() == stored.len()).then_some(weights)
}

/// JSON that ends no element.
fn escape(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// The JSON that was [`escape`]d: of two backslashes, the second begins nothing.
fn unescape(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find('\\') {
        json.push_str(&rest[..place]);
        rest = &rest[place..];
        if let Some(after) = rest.strip_prefix("\\u003c") {
            json.push('<');
            rest = after;
        } else {
            let pair = rest.char_indices().nth(2).map_or(rest.len(), |(end, _)| end);
            json.push_str(&rest[..pair]);
            rest = &rest[pair..];
        }
    }
    json + rest
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::super::{Format, decode, encode};
    use super::*;
    use crate::models::ModelConfig;

    #[test]
    fn what_a_class_is_called_cannot_become_markup() {
        let (mut manifest, weights) = sample(&ModelConfig::examples()[0], 1);
        manifest.classes[0] = "</script><script>alert(1)</script>".into();
        manifest.classes[1] = r"\u003c\\<".into();
        let bytes = encode(Format::Html, Dtype::F32, &manifest, &weights).unwrap();
        assert_eq!(decode(&bytes).unwrap(), (manifest, weights));
        let page = String::from_utf8(bytes).unwrap();
        assert_eq!(page.matches("<script").count(), 4);
        assert_eq!(page.matches("</script").count(), 4);
    }

    #[test]
    fn another_page_is_no_model() {
        let error = decode(b"<!doctype html>\n<title>a page</title>\n").unwrap_err().to_string();
        assert!(error.contains("holds no manifest"), "{error}");
    }
}
