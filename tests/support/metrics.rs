//! A page of metrics, as Prometheus reads it.

/// The samples of a metric: its labels with their braces, or nothing, and its value.
pub fn samples<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    page.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let is_whole = labels.is_empty() || labels.starts_with('{');
        is_whole.then_some((labels, value.parse().ok()?))
    })
}

/// The sum of a metric's samples.
pub fn total(page: &str, name: &str) -> f64 {
    samples(page, name).map(|(_, value)| value).sum()
}
