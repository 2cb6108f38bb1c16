//! The page of a comparison.

use maud::{Markup, html};

use super::classes::percentage;
use super::{document, percent, picture, scrolling, sheet_style};
use crate::Result;
use crate::compare::{Arm, Comparison};
use crate::data::ImageSet;
use crate::report::compare::{points, verdicts};
use crate::report::sheet::{LARGEST_SIDE, Sheet};
use crate::report::thousands;

/// Pictures of disagreement that a page shows.
const SHOWN: usize = 60;

/// The page of a comparison of `arms` on the images of `set`.
///
/// # Errors
/// When a picture cannot be made.
pub fn comparison_page(comparison: &Comparison, arms: &[Arm], set: &ImageSet) -> Result<String> {
    let sections = [
        ("accuracy", "Accuracy", Some(accuracy(comparison))),
        ("differences", "Differences", Some(differences(comparison))),
        ("disagreement", "Where they disagree", disagreement(arms, set)?),
    ];
    let introduction = html! { @for sentence in verdicts(comparison) { p.lead { (sentence) } } };
    let names: Vec<&str> = comparison.arms.iter().map(|arm| &*arm.name).collect();
    Ok(document(&names.join(" and "), &introduction, &sections))
}

fn accuracy(comparison: &Comparison) -> Markup {
    let table = html! {
        table {
            thead { tr {
                th.name scope="col" { "" } th scope="col" { "models" } th scope="col" { "mean" } th scope="col" { "sd" }
                th.name scope="col" { "each" }
            } }
            tbody {
                @for arm in &comparison.arms {
                    tr {
                        th.name scope="row" title=(arm.name) { span.clip { (arm.name) } }
                        td { (arm.accuracies.len()) }
                        td { (percent(arm.mean)) }
                        td { @if let Some(sd) = arm.sd { (percent(sd)) } @else { "-" } }
                        td { (arm.accuracies.iter().map(|accuracy| format!("{:.2}", accuracy * 100.0)).collect::<Vec<_>>().join("  ")) }
                    }
                }
            }
        }
    };
    html! {
        p.soft { "The share of " (thousands(comparison.images as u64)) " test images that each named rightly; sd: over seeds." }
        (scrolling("Accuracy", &table))
    }
}

fn differences(comparison: &Comparison) -> Markup {
    let name = |arm: usize| &*comparison.arms[arm].name;
    let points = |share: f64| format!("{:+.2}", points(share));
    let chance = |p: f64| format!("{p:.4}");
    let table = html! {
        table {
            thead { tr {
                th.name scope="col" { "second less first" } th scope="col" { "points" } th scope="col" { "95 % interval" }
                th scope="col" { "p" } th scope="col" { "p by Holm" } th scope="col" { "p by permutation" }
                th scope="col" { "verdict" }
            } }
            tbody {
                @for pair in &comparison.pairs {
                    tr {
                        th.name scope="row" { span.clip { (name(pair.b)) " less " (name(pair.a)) } }
                        td { (points(pair.difference)) }
                        td { (points(pair.interval[0])) " to " (points(pair.interval[1])) }
                        td { (chance(pair.p_value)) }
                        td { (chance(pair.p_adjusted)) }
                        td { (pair.p_permutation.map_or_else(|| "-".to_owned(), chance)) }
                        td { @if pair.distinguishable { "more than luck" } @else { "not distinguishable" } }
                    }
                }
            }
        }
    };
    html! {
        p.soft {
            "Two single models are told apart by the images on which they disagree (McNemar's exact test; interval of Bonett and Price, 2012). \
             Several seeds: images and seeds are resampled together (Owen, 2007), with Student's t for few seeds; models with the same seed are \
             compared with each other."
        }
        (scrolling("Differences", &table))
    }
}

/// The images that the arms answer most differently, by the share of their models that are right.
fn disagreement(arms: &[Arm], set: &ImageSet) -> Result<Option<Markup>> {
    let share = |arm: &Arm, image: usize| {
        arm.models.iter().filter(|model| model.right[image]).count() as f64 / arm.models.len() as f64
    };
    let mut found: Vec<(usize, Vec<f64>, f64)> = (0..set.len())
        .map(|image| {
            let shares: Vec<f64> = arms.iter().map(|arm| share(arm, image)).collect();
            let (low, high) =
                shares.iter().fold((1.0_f64, 0.0_f64), |(low, high), share| (low.min(*share), high.max(*share)));
            (image, shares, high - low)
        })
        .filter(|(_, _, apart)| *apart > 0.0)
        .collect();
    found.sort_by(|a, b| b.2.total_cmp(&a.2));
    let all = found.len();
    found.truncate(SHOWN);
    let images: Vec<usize> = found.iter().map(|(image, ..)| *image).collect();
    let Some(sheet) = Sheet::of_images(set, &images, LARGEST_SIDE)? else {
        return Ok(Some(html! { p { "Nowhere: they answer every image alike." } }));
    };
    Ok(Some(html! {
        p.soft { "On " (thousands(all as u64)) " images; the first " (images.len()) ", those on which they are furthest apart first. The share of the models that are right:" }
        (sheet_style("apart", &sheet))
        ul.cards.apart {
            @for (place, (image, shares, _)) in found.iter().enumerate() {
                li {
                    (picture(&sheet, place, &format!("test image {image}")))
                    div {
                        span.clip { "label " strong { (set.classes[set.label(*image)]) } }
                        span.soft { "image " (image) }
                    }
                    ul.odds {
                        @for (arm, share) in arms.iter().zip(shares) {
                            li {
                                span.clip title=(arm.name) { (arm.name) }
                                span.bar aria-hidden="true" { b style={ "width:" (percentage(*share)) } {} }
                                span { (percent(*share)) }
                            }
                        }
                    }
                }
            }
        }
    }))
}
