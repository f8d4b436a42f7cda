//! Go's way of writing a duration.

/// `time.ParseDuration`: "5m", "1h30m", "-1s", ".5s", "0". In seconds, whole nanoseconds of them.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if text == "0" {
        return Some(0.0);
    }
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let amount: f64 = amount.parse().ok()?;
        nanos += (amount * nanos_per(unit)?).trunc();
        rest = tail;
    }
    Some(sign * nanos / 1e9)
}

fn nanos_per(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        for zero in ["0", "-0", "+0", "0s", "0m", "0.0s", "0h0m0s", ".0s", "0.4ns"] {
            assert_eq!(seconds(zero).map(f64::abs), Some(0.0), "{zero}");
        }
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("-1.5s"), Some(-1.5));
        assert_eq!(seconds("10µs"), Some(1e-5));
        for wrong in ["", "-", "5", "s", "5 m", "1.2.3s", "5d", "."] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
