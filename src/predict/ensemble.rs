//! Several models become one that answers with the mean of their probabilities, or one model answers for other views.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::{Predictor, golden};
use crate::artifact::{self, Dtype, Manifest, MemberProvenance};
use crate::data::TestTimeAugmentation;
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
    /// As [`artifact::read`], and when it was to learn a few batches by heart.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let (manifest, weights) = artifact::read(path)?;
        let shown = path.display();
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

/// The views that all of `parts` answer for.
///
/// # Errors
/// A usage error that names two models when they answer for different ones.
pub(crate) fn common_views(parts: &[Part]) -> Result<Option<TestTimeAugmentation>> {
    let Some((first, others)) = parts.split_first() else { return Ok(None) };
    let views = &first.manifest.test_time_augmentation;
    let Some(other) = others.iter().find(|other| other.manifest.test_time_augmentation != *views) else {
        return Ok(views.clone());
    };
    let words = |part: &Part| {
        let views = part.manifest.test_time_augmentation.as_ref();
        let views = views.map_or_else(|| "the image alone".to_owned(), TestTimeAugmentation::words);
        format!("{views} (`{}`)", part.path.display())
    };
    Err(Error::usage(format!("the models answer for different views: {} and {}", words(first), words(other)))
        .tip("say which ones the new model answers for: --one-view, or --flip and --shift PIXELS"))
}

/// One model of `parts`, which answers for `views`, with golden samples computed anew and nothing measured. Of a single part, the
/// same model for other views than before.
///
/// # Errors
/// A usage error that names both models when two differ in classes or images, or are the same; when there are too few or too
/// many.
pub(crate) fn ensemble(parts: &[Part], views: Option<TestTimeAugmentation>) -> Result<(Manifest, Weights)> {
    let (mut manifest, weights) = match parts {
        [part] if part.manifest.test_time_augmentation != views => {
            let manifest = Manifest { dtype: Dtype::F32, ..part.manifest.for_views(views) };
            (manifest, part.weights.clone())
        }
        parts => {
            let (manifest, weights) = joined(parts)?;
            (Manifest { test_time_augmentation: views, ..manifest }, weights)
        }
    };
    manifest.weights_sha256 = weights.sha256();
    let images = manifest.golden_images()?;
    let predictor = Predictor::new(manifest.clone(), &weights, &Device::flex())?;
    manifest.golden = golden::samples(&predictor, &images)?;
    Ok((manifest, weights))
}

fn joined(parts: &[Part]) -> Result<(Manifest, Weights)> {
    let ([first, .., last], true) = (parts, parts.len() <= MOST_MEMBERS) else {
        let error = Error::usage(format!("an ensemble takes 2 to {MOST_MEMBERS} models, got {}", parts.len()));
        return Err(match parts.len() {
            1 => error.tip("one model takes other views to answer for: --flip, --shift PIXELS or --one-view"),
            _ => error,
        });
    };
    if let Some(part) = parts.iter().find(|part| matches!(part.manifest.model, Composition::Ensemble(_))) {
        return Err(Error::usage(format!("`{}` is an ensemble itself", part.path.display()))
            .tip("name the models that it was made of: each counts the same then"));
    }
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
    let manifest = Manifest::ensemble(composition, &first.manifest, origins.collect(), &parents);
    Ok((manifest, join_weights(&parts.iter().map(|part| &part.weights).collect::<Vec<_>>())))
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
