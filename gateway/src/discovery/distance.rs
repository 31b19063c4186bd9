//! The distance between two points on Earth.

/// The mean radius of the Earth (IUGG).
const EARTH_RADIUS_KM: f64 = 6_371.0;

/// The great-circle distance between two points, each as latitude and longitude in degrees, by the
/// haversine formula. It treats the Earth as a sphere, which is wrong by up to 0.5 %.
pub fn distance_km(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (latitude, to_latitude) = (from.0.to_radians(), to.0.to_radians());
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let chord = half(from.0, to.0) + latitude.cos() * to_latitude.cos() * half(from.1, to.1);
    2.0 * EARTH_RADIUS_KM * chord.min(1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEOUL: (f64, f64) = (37.5665, 126.978);
    const BUSAN: (f64, f64) = (35.1796, 129.0756);
    const FRANKFURT: (f64, f64) = (50.1109, 8.6821);

    #[test]
    fn known_distances_are_computed() {
        let near = |value: f64, expected: f64| (value - expected).abs() < expected * 0.005;
        assert!(near(distance_km(SEOUL, BUSAN), 325.0));
        assert!(near(distance_km(SEOUL, FRANKFURT), 8_560.0));
        assert!(near(distance_km((0.0, 179.5), (0.0, -179.5)), 111.2), "over the date line");
        assert!(near(distance_km((0.0, 0.0), (0.0, 180.0)), 20_015.0), "the other side");
        assert!(distance_km(SEOUL, SEOUL) < 1e-6);
    }
}
