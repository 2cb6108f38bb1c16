//! What is tried for a key, as a stretch of the number line: from a point to a value, and back.

use serde_json::Value as Json;

use crate::config::Space;

/// Drawn numbers have so many significant digits: more would say nothing, and nobody could read them.
const DIGITS: usize = 4;

/// The stretch of points, its end not included.
pub(super) fn stretch(space: &Space) -> [f64; 2] {
    match space {
        Space::Choices(values) => [0.0, values.len() as f64],
        Space::Linear([low, high]) => [*low, high.next_up()],
        Space::Log([low, high]) => [low.ln(), high.ln().next_up()],
        Space::Int([low, high]) => [*low as f64, *high as f64 + 1.0],
        Space::LogInt([low, high]) => [(*low as f64).ln(), (*high as f64 + 1.0).ln()],
    }
}

/// The value at a point.
pub(super) fn value(space: &Space, point: f64) -> Json {
    let whole = |point: f64, [low, high]: [i64; 2]| Json::from((point.floor() as i64).clamp(low, high));
    match space {
        Space::Choices(values) => values[(point.max(0.0) as usize).min(values.len() - 1)].clone(),
        Space::Linear([low, high]) => rounded(point).clamp(*low, *high).into(),
        Space::Log([low, high]) => rounded(point.exp()).clamp(*low, *high).into(),
        Space::Int(ends) => whole(point, *ends),
        Space::LogInt(ends) => whole(point.exp(), *ends),
    }
}

/// A point at which a value is; for whole numbers and choices, in the middle of theirs.
pub(super) fn point(space: &Space, value: &Json) -> f64 {
    let number = value.as_f64().unwrap_or(0.0);
    match space {
        Space::Choices(values) => values.iter().position(|choice| choice == value).unwrap_or(0) as f64 + 0.5,
        Space::Linear(_) => number,
        Space::Log(_) => number.ln(),
        Space::Int(_) => number + 0.5,
        Space::LogInt(_) => (number + 0.5).ln(),
    }
}

fn rounded(number: f64) -> f64 {
    format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_at_its_point_and_inside() {
        let choices = Space::Choices(vec!["a".into(), "b".into(), "c".into()]);
        let spaces = [
            choices,
            Space::Linear([-1.0, 0.3]),
            Space::Log([1e-4, 0.1]),
            Space::Int([3, 9]),
            Space::LogInt([16, 256]),
        ];
        for space in &spaces {
            let [start, end] = stretch(space);
            for step in 0..=1000 {
                let at = (start + (end - start) * f64::from(step) / 1000.0).min(end.next_down());
                let found = value(space, at);
                let back = point(space, &found);
                assert!(start <= back && back < end, "{space:?}: {found} is at {back}");
                assert_eq!(value(space, back), found, "{space:?}");
            }
            // Both ends are there.
            let (first, last) = (value(space, start), value(space, end.next_down()));
            assert_ne!(first, last, "{space:?}");
        }
        assert_eq!(value(&spaces[4], stretch(&spaces[4])[0]), 16);
        assert_eq!(value(&spaces[4], stretch(&spaces[4])[1].next_down()), 256);
        assert_eq!(value(&spaces[2], -3.456_789), 0.03153);
    }
}
