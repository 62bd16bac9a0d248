//! Python's slices.

use crate::template::Error;

/// Returns the indices that Python's `start:stop:step` picks of `length` items.
pub(in crate::template) fn slice_indices(
    length: usize,
    bounds: [Option<i64>; 3],
) -> Result<Vec<usize>, Error> {
    let [start, stop, step] = bounds;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::failed("slice step cannot be zero"));
    }
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (low, high) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let clamp = |bound: Option<i64>, default: i64| {
        bound.map_or(default, |at| {
            if at < 0 {
                at.saturating_add(length).max(low)
            } else {
                at.min(high)
            }
        })
    };
    let (start, stop) = match step > 0 {
        true => (clamp(start, low), clamp(stop, high)),
        false => (clamp(start, high), clamp(stop, low)),
    };
    let mut indices = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        indices.extend(usize::try_from(at));
        let Some(next) = at.checked_add(step) else {
            break;
        };
        at = next;
    }
    Ok(indices)
}
