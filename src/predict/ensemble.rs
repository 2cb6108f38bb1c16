//! Several models become one that answers with the mean of their probabilities.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::{Predictor, golden};
use crate::artifact::{self, Manifest, MemberProvenance};
use crate::models::{Composition, MOST_MEMBERS, Member, Weights, join_weights};
use crate::{Error, Result};

/// A model file that becomes part of an ensemble.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    /// What it says about itself.
    pub(crate) manifest: Manifest,
    weights: Weights,
}

impl Part {
    /// Reads a model file.
    ///
    /// # Errors
    /// As [`artifact::read`], and when it is an ensemble itself or was to learn a few batches by heart.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let (manifest, weights) = artifact::read(path)?;
        let shown = path.display();
        if matches!(manifest.model, Composition::Ensemble(_)) {
            return Err(Error::usage(format!("`{shown}` is an ensemble itself"))
                .tip("name the models that it was made of: each counts the same then"));
        }
        if manifest.overfit_batches().is_some() {
            return Err(Error::usage(format!("`{shown}` was to learn a few batches by heart, and is no result"))
                .tip("leave it out"));
        }
        Ok(Self { path: path.to_owned(), manifest, weights })
    }

    /// What tells it from every other model: the same weights behind the same architecture answer the same.
    fn is_same(&self, other: &Self) -> bool {
        self.manifest.weights_sha256 == other.manifest.weights_sha256 && self.manifest.model == other.manifest.model
    }
}

/// One model of `parts`, with golden samples computed anew and nothing measured.
///
/// # Errors
/// A usage error that names both models when two differ in classes or images, or are the same; when there are too few or too
/// many.
pub(crate) fn ensemble(parts: &[Part]) -> Result<(Manifest, Weights)> {
    let ([first, .., last], true) = (parts, parts.len() <= MOST_MEMBERS) else {
        return Err(Error::usage(format!("an ensemble takes 2 to {MOST_MEMBERS} models, got {}", parts.len())));
    };
    for part in &parts[1..] {
        agree(first, part)?;
    }
    for (index, part) in parts.iter().enumerate() {
        if let Some(twin) = parts[..index].iter().find(|other| other.is_same(part)) {
            let (one, two) = (twin.path.display(), part.path.display());
            return Err(Error::usage(format!("`{one}` and `{two}` are the same model: it would count twice"))
                .tip("name every model once"));
        }
    }
    let member = |part: &Part| {
        let preprocess = &part.manifest.preprocess;
        let models = part.manifest.model.models().into_iter().cloned();
        models.map(|model| Member { model, mean: preprocess.mean.clone(), std: preprocess.std.clone() }).collect()
    };
    let members = parts.iter().flat_map(|part| -> Vec<Member> { member(part) }).collect();
    let origins = parts.iter().map(|part| MemberProvenance {
        run: part.manifest.provenance.run.clone(),
        seed: part.manifest.provenance.seed,
        weights_sha256: part.manifest.weights_sha256.clone(),
    });
    let parents = match parts.len() {
        2 => format!("the models {} and {}", first.path.display(), last.path.display()),
        count => format!("{count} models, from {} to {}", first.path.display(), last.path.display()),
    };
    let composition = Composition::Ensemble(members);
    let mut manifest = Manifest::ensemble(composition, &first.manifest, origins.collect(), &parents);
    let weights = join_weights(&parts.iter().map(|part| &part.weights).collect::<Vec<_>>());
    manifest.weights_sha256 = weights.sha256();
    let images = manifest.golden_images()?;
    let predictor = Predictor::new(manifest.clone(), &weights, &Device::flex())?;
    manifest.golden = golden::samples(&predictor, &images)?;
    Ok((manifest, weights))
}

/// Whether two models answer about the same images with the same classes.
fn agree(first: &Part, other: &Part) -> Result<()> {
    let (one, two) = (&first.manifest, &other.manifest);
    let fit = |manifest: &Manifest| serde_json::to_string(&manifest.preprocess.fit).unwrap_or_default();
    let differs = if one.preprocess.shape != two.preprocess.shape {
        let [one, two] = [one, two].map(|manifest| format!("images of {}", manifest.preprocess.shape));
        Some(("take", one, two))
    } else if one.classes != two.classes {
        let [one, two] = [one, two].map(|manifest| format!("the classes {}", manifest.classes.join(", ")));
        Some(("know", one, two))
    } else if one.preprocess.fit != two.preprocess.fit {
        Some(("fit pictures differently:", fit(one), fit(two)))
    } else {
        None
    };
    match differs {
        None => Ok(()),
        Some((verb, one, two)) => Err(Error::usage(format!(
            "the models do not belong together: they {verb} {one} (`{}`) and {two} (`{}`)",
            first.path.display(),
            other.path.display()
        ))
        .tip("an ensemble's models have the same classes, image size and way to fit pictures")),
    }
}
