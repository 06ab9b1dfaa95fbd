//! For how long kubelets may keep secrets and config maps in a cluster of some size.

/// From so many nodes on (with some play, so that it does not flap), up to so many, for so many seconds.
const STEPS: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// The seconds for a cluster of `nodes`, which was at `current`.
pub fn seconds(nodes: usize, current: Option<u32>) -> u32 {
    let fits = |(least, most, _): &&(usize, usize, u32)| (*least..=*most).contains(&nodes);
    let stays = STEPS.iter().filter(fits).find(|(.., seconds)| Some(*seconds) == current);
    stays.or_else(|| STEPS.iter().find(fits)).map_or(0, |(.., seconds)| *seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_clusters_ask_less_often_and_do_not_flap() {
        for (nodes, current, expected) in
            [(1, None, 0), (95, Some(15), 15), (95, None, 0), (89, Some(15), 0), (101, Some(0), 15), (5000, None, 300)]
        {
            assert_eq!(seconds(nodes, current), expected, "{nodes} {current:?}");
        }
    }
}
