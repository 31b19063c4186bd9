//! Non-negative least squares: a price cannot be negative.

/// The most iterations; a few hundred are enough.
const ROUNDS: usize = 20_000;

/// The `x >= 0` that minimises the sum of `((row · x - wanted) / wanted)²`: relative errors, so that small cells
/// count as much as large ones.
///
/// Coordinate descent, which converges to the optimum of this convex problem (Franc, Hlaváč, Navara:
/// *Sequential coordinate-wise algorithm for the non-negative least squares problem*, 2005). Rows with `wanted`
/// of 0 or less have no relative error and are left out.
pub(super) fn fit<const N: usize>(rows: &[([f64; N], f64)]) -> [f64; N] {
    // Every column to length 1, so that their units do not matter.
    let rows = || rows.iter().filter(|(_, wanted)| *wanted > 0.0);
    let scale: [f64; N] = std::array::from_fn(|term| {
        let length = rows().map(|(row, wanted)| (row[term] / wanted).powi(2)).sum::<f64>().sqrt();
        if length > 0.0 { length.recip() } else { 0.0 }
    });
    let column = |(row, wanted): &([f64; N], f64), term: usize| row[term] / wanted * scale[term];
    let target: [f64; N] = std::array::from_fn(|one| rows().map(|row| column(row, one)).sum());
    let gram: [[f64; N]; N] = std::array::from_fn(|one| {
        std::array::from_fn(|other| rows().map(|row| column(row, one) * column(row, other)).sum())
    });
    let mut x = [0.0; N];
    for _ in 0..ROUNDS {
        let mut moved: f64 = 0.0;
        for one in (0..N).filter(|&one| scale[one] > 0.0) {
            let product: f64 = gram[one].iter().zip(&x).map(|(gram, x)| gram * x).sum();
            let better = (x[one] + target[one] - product).max(0.0);
            moved = moved.max((better - x[one]).abs());
            x[one] = better;
        }
        if moved < 1e-9 {
            break;
        }
    }
    std::array::from_fn(|one| x[one] * scale[one])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exact_is_found_exactly() {
        let rows: Vec<_> = [[1.0, 0.0, 5.0], [1.0, 2.0, 0.0], [1.0, 4.0, 3.0], [1.0, 1.0, 1.0]]
            .map(|row| (row, 3.0 * row[0] + 0.5 * row[1] + 0.01 * row[2]))
            .into();
        for (found, wanted) in fit(&rows).into_iter().zip([3.0, 0.5, 0.01]) {
            assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
        }
    }

    #[test]
    fn nothing_becomes_negative_and_a_term_that_never_occurs_costs_nothing() {
        let rows = [([1.0, 1.0, 0.0], 1.0), ([1.0, 2.0, 0.0], 0.5), ([1.0, 4.0, 0.0], 0.25)];
        let [node, falling, never] = fit(&rows);
        assert!(node > 0.0);
        assert_eq!((falling, never), (0.0, 0.0));
    }
}
